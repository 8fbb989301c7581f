//go:build !386 && !arm

package mount

import (
	"container/list"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/view"
)

// maxOpened is how many files are kept.
const maxOpened = 256

// opened keeps the files that were read last, by their nodes: the kernel does not say which
// are open, and a small one is compared with its sum once for each time that it is opened.
type opened struct {
	mu     sync.Mutex
	byNode map[node]*list.Element
	order  list.List // of openedFile; the one used last is in front
}

type openedFile struct {
	id   node
	file *view.File
}

func newOpened() *opened { return &opened{byNode: map[node]*list.Element{}} }

// get returns a file that is kept, or nil.
func (o *opened) get(id node) *view.File {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.byNode[id]
	if at == nil {
		return nil
	}
	o.order.MoveToFront(at)
	return at.Value.(openedFile).file
}

// put keeps a file, or returns the one of its node that another has put there meanwhile.
func (o *opened) put(id node, f *view.File) *view.File {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at := o.byNode[id]; at != nil {
		return at.Value.(openedFile).file
	}
	o.byNode[id] = o.order.PushFront(openedFile{id, f})
	if o.order.Len() > maxOpened {
		delete(o.byNode, o.order.Remove(o.order.Back()).(openedFile).id)
	}
	return f
}

// drop forgets a file that has failed, so that the next read tries again.
func (o *opened) drop(id node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at := o.byNode[id]; at != nil {
		o.order.Remove(at)
		delete(o.byNode, id)
	}
}
