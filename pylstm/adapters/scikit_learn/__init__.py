"""Estimators that follow scikit-learn's conventions, on sequences.

`inputs.py`: X as users have it; `network.py`: the model that the parameters mean; `estimator.py`: fit and predict, with
`classifier.py` and `regressor.py` for what y is; `threads.py`: inside of joblib's threads. Public in `pylstm.sklearn`.
"""
