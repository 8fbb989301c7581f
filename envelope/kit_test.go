package envelope

// bytes is the key material, or nil once it has been wiped.
func (s *secret) bytes() []byte { return s.p.b }

func optionsOf(opts ...Option) options {
	o := defaults()
	if err := o.apply(opts); err != nil {
		panic(err)
	}
	return o
}

// copies are copies of *p, which go vet would report were their type known.
func copies[T any](p *T) []any {
	return []any{*p, struct{ x T }{*p}, struct{ X T }{*p}, []T{*p}}
}

// copied is one, to be used.
func copied[T any](p *T) *T {
	c := *p
	return &c
}
