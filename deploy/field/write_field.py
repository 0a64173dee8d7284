"""Write all that a bundle holds for the field."""

import shutil
from pathlib import Path

from nuwa_search.deploy.bundle import CPP, DEEPSTREAM, ROS2, TRITON
from nuwa_search.deploy.field.cpp import has_cpp, write_cpp
from nuwa_search.deploy.field.field_model import FieldModel
from nuwa_search.deploy.field.nvinfer import write_nvinfer
from nuwa_search.deploy.field.triton import write_triton

_NODE = Path(__file__).parents[1] / "assets" / "ros2_node.py"


def write_field(folder: Path, model: FieldModel) -> None:
    """Write DeepStream, Triton, ROS 2 and C++ into a bundle that holds its ``model.onnx``.

    A model of other images than RGB gets none of them, one that takes bytes nothing for DeepStream (TensorRT is not
    given such inputs here), and one whose images the first pipeline makes nothing for C++.
    """
    if not model.is_rgb:
        return
    if model.input_kind != "uint8":
        write_nvinfer(folder / DEEPSTREAM, model)
    write_triton(folder / TRITON, model)
    (folder / ROS2).mkdir()
    shutil.copyfile(_NODE, folder / ROS2 / "classifier_node.py")
    if has_cpp(model):
        write_cpp(folder / CPP, model)
