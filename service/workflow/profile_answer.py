"""The `nuwa.profile/1` answer, put together from what a profile left."""

from typing import Any

from nuwa_search.core.device import device_json
from nuwa_search.service.workflow.device_predictor import DevicePredictor


def head_json(start: DevicePredictor) -> dict[str, Any]:
    """Say which device, predictor and table an answer is about."""
    return {
        "schema": "nuwa.profile/1",
        "device": device_json(start.spec),
        "predictor_id": start.predictor_id,
        "table": {"id": start.predictor.table_id, "rows": len(start.predictor.rows), "added": 0},
    }


def profile_json(start: DevicePredictor) -> dict[str, Any]:
    """Render the `nuwa.profile/1` answer of a device that was profiled now."""
    answer = head_json(start)
    result = start.profiled
    if result is not None:
        answer["table"]["added"] = result.rows_added
        answer |= {
            "models_measured": result.models_measured,
            "measurements": result.measurements,
            "seconds": round(result.seconds, 1),
            "report": result.report.to_dict(),
        }
    return answer
