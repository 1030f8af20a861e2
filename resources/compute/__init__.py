"""Where trainings are computed: H2O, executors of steps, Kubernetes."""
