"""Raw window in, prediction out: training, service and backtest all call this."""
