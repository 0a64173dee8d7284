"""What a bundle holds for the field: DeepStream, Triton, ROS 2 and C++, with the model's own names and shapes."""
