//go:build !386 && !arm

package mount

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/given"
)

// A Mount is a version that is mounted. It is safe for concurrent use.
type Mount struct {
	place  *place
	device string
	files  *fileSystem
	done   chan struct{}

	mu       sync.Mutex // of Unmount
	released error      // set once done is closed
}

// Start mounts a version in a folder, and returns when it can be read. The folder is empty,
// or missing and then made for this user alone, and removed when it is unmounted. A mount
// there that has lost its process, as after kill -9, is removed first if it is this user's;
// any other mount stays. Start takes root, or the program fusermount3.
//
// The version is mounted until Unmount is called, or someone else unmounts it. When ctx ends,
// reads fail. The dataset must stay open. A process that ends without Unmount leaves a folder
// in which all fails with ENOTCONN.
func Start(ctx context.Context, v *dataset.Version, dir string, o Options) (*Mount, error) {
	if err := given.Check(ctx, v != nil && dir != "", errors.New("mount: a version and a folder are needed")); err != nil {
		return nil, err
	}
	files, err := view.Open(ctx, v, o.View)
	if err != nil {
		return nil, err
	}
	m := &Mount{files: newFileSystem(ctx, files, o), done: make(chan struct{})}
	if m.place, err = claim(dir); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	server, err := attach(m.place.dir, fmt.Sprintf("vaultpack:%s@%d", v.Dataset(), v.Number), m.files, o)
	if err != nil {
		return nil, errors.Join(err, files.Close(), m.place.release())
	}
	if err := m.serve(server); err != nil {
		return nil, m.stop(err)
	}
	return m, nil
}

// serve begins to serve what is mounted. After an error it is unmounted.
func (m *Mount) serve(server *fuse.Server) error {
	go func() {
		server.Serve()
		m.files.end()
		m.released = errors.Join(m.files.view.Close(), m.place.release())
		close(m.done)
	}()
	top, err := mountedAt(m.place.dir)
	if err == nil && !top.isOurs() {
		err = fmt.Errorf("%s was mounted, and is no longer mounted", m.place.dir)
	}
	if err != nil {
		return errors.Join(err, detach(m.place.dir, lazily))
	}
	m.device = top.device
	widen(m.device)
	settle(m.place.dir)
	return nil
}

// Dir returns the folder, as an absolute path.
func (m *Mount) Dir() string {
	if m == nil || m.place == nil {
		return ""
	}
	return m.place.dir
}

// Done returns a channel that is closed when the version is no longer mounted.
func (m *Mount) Done() <-chan struct{} {
	if m == nil || m.place == nil {
		c := make(chan struct{})
		close(c)
		return c
	}
	return m.done
}

// endWait is how long the reads that are under way may take to end.
const endWait = 10 * time.Second

// Unmount unmounts. If the folder is in use, it is unmounted all the same, the reads of those
// who use it fail, and the error is a [*BusyError]. If another file system was mounted in the
// folder meanwhile, that stays, and with it the folder. To unmount again does nothing.
func (m *Mount) Unmount() error {
	if m == nil || m.place == nil {
		return errNoMount
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended(0) {
		return m.released
	}
	top, err := mountedAt(m.place.dir)
	switch {
	case err != nil:
		return err
	case top == nil || top.device != m.device:
		m.files.end()
		return fmt.Errorf("%s is not unmounted: something else was mounted there, or it was moved: %w", m.place.dir, m.stop(abort(m.device)))
	}
	for _, wait := range append(unmountWaits, 0) {
		if err = detach(m.place.dir, ifIdle); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait)
	}
	if errors.Is(err, unix.EBUSY) {
		return m.force()
	}
	m.files.end()
	if errors.Is(err, unix.EINVAL) && m.ended(endWait) {
		return m.released // someone else was faster
	}
	return m.stop(err)
}

// force unmounts what is in use.
func (m *Mount) force() error {
	busy := &BusyError{Dir: m.place.dir, Users: usersOf(m.place.dir)}
	m.files.end()
	if err := detach(m.place.dir, forcibly); err != nil {
		return err
	}
	if !m.ended(endWait / 20) {
		// What fails requests at once needs root, or this file system of the kernel. Without
		// either they are answered with errors until the last user has gone.
		if err := abort(m.device); err != nil {
			return busy
		}
	}
	return errors.Join(busy, m.stop(nil))
}

// stop waits until nothing is served any more, after an error.
func (m *Mount) stop(err error) error {
	if !m.ended(endWait) {
		return errors.Join(err, fmt.Errorf("%s: reads are still under way", m.place.dir))
	}
	return errors.Join(err, m.released)
}

// ended reports whether serving has ended, and waits for it.
func (m *Mount) ended(wait time.Duration) bool {
	if wait == 0 {
		select {
		case <-m.done:
			return true
		default:
			return false
		}
	}
	select {
	case <-m.done:
		return true
	case <-time.After(wait):
		return false
	}
}
