"""A ROS 2 node that classifies what a camera topic publishes, with the model of the bundle around it.

python3 ros2/classifier_node.py --ros-args -p image_topic:=/camera/image_raw -p top:=3

Subscribes to sensor_msgs/Image (rgb8, bgr8, rgba8, bgra8, mono8) and publishes vision_msgs/Classification on
``classification``: the likeliest labels with their probabilities, and no result where a frame is none of the labels.
Needs rclpy, sensor_msgs and vision_msgs of a ROS 2 installation beside numpy, pillow and onnxruntime.

Checked with: stand-ins for these packages that hand it messages; it has not run in ROS.
"""

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, ObjectHypothesis

BUNDLE = Path(__file__).resolve().parent.parent
ENCODINGS = {"rgb8": (3, "RGB"), "bgr8": (3, "BGR"), "rgba8": (4, "RGB"), "bgra8": (4, "BGR"), "mono8": (1, "RGB")}


def load_classifier(folder: Path) -> Any:
    """Load the bundle's classifier.py."""
    spec = importlib.util.spec_from_file_location("classifier", str(folder / "classifier.py"))
    if spec is None or spec.loader is None:
        raise ValueError(f"{folder} holds no classifier.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frame_from_message(message: Any) -> "tuple[np.ndarray[Any, Any], str]":
    """Turn an image message into (H, W, 3) uint8 and the order of its channels; rows may be padded."""
    if message.encoding not in ENCODINGS:
        raise ValueError(f"encoding {message.encoding} is not read; known are {', '.join(sorted(ENCODINGS))}")
    depth, channels = ENCODINGS[message.encoding]
    rows = np.frombuffer(bytes(message.data), dtype=np.uint8).reshape(message.height, message.step)
    frame = rows[:, : message.width * depth].reshape(message.height, message.width, depth)
    return (np.repeat(frame, 3, axis=2) if depth == 1 else frame[:, :, :3]), channels


class ClassifierNode(Node):  # type: ignore[misc]  # of a package that is not here
    """Classifies each image of a topic."""

    def __init__(self) -> None:
        super().__init__("nuwa_classifier")
        folder = Path(self.declare_parameter("bundle", str(BUNDLE)).value)
        topic = self.declare_parameter("image_topic", "image_raw").value
        engine = self.declare_parameter("engine", "").value
        self.top = int(self.declare_parameter("top", 3).value)
        self.model = load_classifier(folder).Classifier(folder, engine=engine or None)
        self.publisher = self.create_publisher(Classification, "classification", 10)
        self.create_subscription(Image, topic, self.on_image, qos_profile_sensor_data)
        self.get_logger().info(f"{folder} on {self.model.model.runtime}, {len(self.model.labels)} labels, from {topic}")

    def on_image(self, message: Any) -> None:
        """Classify one image and publish what it shows."""
        try:
            frame, channels = frame_from_message(message)
            answer = self.model.predict(frame, channels=channels)[0]
        except ValueError as error:
            self.get_logger().warning(f"an image is skipped: {error}")
            return
        found = Classification()
        found.header = message.header
        order = np.argsort(-answer.scores)[: 0 if answer.is_none else self.top]
        for place in order:
            result = ObjectHypothesis()
            result.class_id = self.model.labels[int(place)]
            result.score = float(answer.scores[place])
            found.results.append(result)
        self.publisher.publish(found)


def main() -> None:
    """Run the node until it is told to stop."""
    rclpy.init()
    node = ClassifierNode()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
