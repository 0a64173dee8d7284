"""Beyond one machine: one search over several Ray nodes, and farms of boards that many searches share."""
