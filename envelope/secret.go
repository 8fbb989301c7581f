package envelope

// A secret holds 32 bytes of key material, two pointers deep: package fmt calls
// no method on unexported fields, and for a verb that does not fit it prints
// what one pointer points to.
type secret struct{ p *[32]byte }

func newSecret(b []byte) *secret { return &secret{(*[32]byte)(b)} }

func (s *secret) bytes() []byte { return s.p[:] }

func (s *secret) wipe() { clear(s.p[:]) }
