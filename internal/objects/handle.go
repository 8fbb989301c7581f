package objects

// A Handle is embedded in types that hold the objects of a dataset. Only packages that can
// call Of see them.
type Handle struct {
	objects *Set
	root    *Root
}

func (h *Handle) handle() *Set { return h.objects }

func (h *Handle) bind(set *Set) { h.objects = set }

func (h *Handle) rooted() **Root { return &h.root }

type holder interface {
	handle() *Set
	bind(*Set)
	rooted() **Root
}

// RootOf returns the root that a version was read from.
func RootOf(h holder) *Root { return *h.rooted() }

// BindRoot sets the objects and the root of a version.
func BindRoot(h holder, set *Set, r *Root) {
	h.bind(set)
	*h.rooted() = r
}

// Of returns the objects of a dataset, or of the dataset of a version. It returns nil for one
// that was not opened from a vault.
func Of(h holder) *Set { return h.handle() }

// Bind sets the objects of a dataset or a version.
func Bind(h holder, set *Set) { h.bind(set) }
