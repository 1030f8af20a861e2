"""The modeling phase: select features, train candidates by AutoML, and evaluate them on unseen rows."""
