"""One file for each kind of layer that looks at other tokens; see
`tfscale.models.stepping.layer_step`."""
