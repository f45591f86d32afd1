"""What a model is made of. `layer` is the contract that all layers obey. Of the recurrent ones `lstm`, `gru` and `rnn`
hold signature and equations, `recurrent` the calls, `compiled` what runs them on the core; the others are `embedding`,
`linear`, `dropout`, `activation`, `attention`, `pooling` and `containers`."""

from .._names import lazy

__getattr__, __dir__ = lazy(__name__)
