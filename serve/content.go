package serve

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/view"
)

const (
	// sendSize is what Send holds in memory.
	sendSize = 128 << 10
	// maxRandom is the size up to which a range is taken for one of many here and there.
	// A longer one is read ahead.
	maxRandom = 1 << 20
)

var sendBuffers = sync.Pool{New: func() any { b := make([]byte, sendSize); return &b }}

// Send answers a request with a portion of a file. The header says so once the first bytes
// have been read. An error says that reading has failed, or that the request has ended;
// begun says whether anything was sent before. If so, the caller must abort the response
// (with [http.ErrAbortHandler]), which is short of its length then. If the client is gone,
// Send does.
func Send(w http.ResponseWriter, r *http.Request, f *view.File, p Portion) (begun bool, err error) {
	if r.Method == http.MethodHead || p.Length == 0 {
		begin(w, f.Size(), p)
		return true, nil
	}
	buf := sendBuffers.Get().(*[]byte)
	defer func() {
		clear(*buf)
		sendBuffers.Put(buf)
	}()
	at := p.First
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return false, err
	}
	for end := at + p.Length; at < end; {
		b := (*buf)[:min(sendSize, end-at)]
		if p.Length <= maxRandom {
			_, err = f.ReadAtContext(r.Context(), b, at)
		} else {
			_, err = io.ReadFull(f, b)
		}
		if err != nil {
			return begun, err
		}
		if !begun {
			begin(w, f.Size(), p)
			begun = true
		}
		if _, err := w.Write(b); err != nil {
			panic(http.ErrAbortHandler)
		}
		at += int64(len(b))
	}
	return begun, nil
}

// begin writes the header of a response with a portion of size bytes.
func begin(w http.ResponseWriter, size int64, p Portion) {
	status := http.StatusOK
	if p.Part {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.First, p.First+p.Length-1, size))
	}
	w.Header().Set("Content-Length", strconv.FormatInt(p.Length, 10))
	w.WriteHeader(status)
}
