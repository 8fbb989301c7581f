package provision

// Explain makes a [DeniedError] of an answer of AWS that a permission is missing:
// the action that the answer names, else action, on resource. Other errors are
// wrapped with both.
func Explain(err error, action, resource string) error { return explain(err, action, resource) }
