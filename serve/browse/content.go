package browse

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vaultpack/vaultpack/serve"
)

const opaque = "application/octet-stream"

// A magic is how the files of a type begin.
type magic struct {
	at    int
	bytes string
	and   string // stands at byte 8, too, if it is not empty
	mime  string
}

// magics are the only types that a browser is told: pictures and sounds, in which nothing runs. SVG is none of
// them.
//
// Source: https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern
var magics = []magic{
	{0, "\x89PNG\r\n\x1a\n", "", "image/png"},
	{0, "\xff\xd8\xff", "", "image/jpeg"},
	{0, "GIF87a", "", "image/gif"},
	{0, "GIF89a", "", "image/gif"},
	{0, "RIFF", "WEBPVP", "image/webp"},
	{0, "BM", "", "image/bmp"},
	{4, "ftypavif", "", "image/avif"},
	{0, "RIFF", "WAVE", "audio/wave"},
	{0, "fLaC", "", "audio/flac"},
	{0, "OggS\x00", "", "audio/ogg"},
	{0, "ID3", "", "audio/mpeg"},
	{0, "\xff\xfb", "", "audio/mpeg"},
	{0, "\xff\xf3", "", "audio/mpeg"},
	{4, "ftypM4A", "", "audio/mp4"},
}

// sniffed is how much of a file tells its type.
const sniffed = 64

// contentType returns what a file is, by its first bytes.
func contentType(head []byte) string {
	for _, m := range magics {
		if len(head) < m.at || !bytes.HasPrefix(head[m.at:], []byte(m.bytes)) {
			continue
		}
		if m.and != "" && (len(head) < 8 || !bytes.HasPrefix(head[8:], []byte(m.and))) {
			continue
		}
		if m.mime == "image/bmp" && !isBitmap(head) {
			continue
		}
		return m.mime
	}
	return opaque
}

// isBitmap tells a picture from a text that begins with BM: four bytes of it are always zero, and no text has those.
func isBitmap(head []byte) bool {
	return len(head) >= 26 && bytes.Equal(head[6:10], make([]byte, 4))
}

// raw sends a file, or a range of it. With store=1, the browser stores even a picture.
func raw(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, v, release, err := h.open(r)
	if err != nil {
		return err
	}
	defer release()
	f, err := serve.OpenFile(v, q.path)
	if err != nil {
		return err
	}
	portion, err := serve.Range(r.Header, "", f.Size())
	if err != nil {
		return err
	}
	head := make([]byte, min(sniffed, f.Size()))
	if _, err := f.ReadAtContext(r.Context(), head, 0); err != nil && err != io.EOF {
		return err
	}
	kind, how := contentType(head), "inline"
	if kind == opaque || r.URL.Query().Get("store") != "" {
		how = "attachment"
	}
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Disposition", how+"; filename*=UTF-8''"+fileName(q.path))
	header.Set("Accept-Ranges", "bytes")
	begun, err := serve.Send(w, r, f, portion)
	if err == nil || !begun {
		return err
	}
	h.tell(r, err)
	panic(http.ErrAbortHandler) // so that nobody takes it for whole
}

// fileName is the last element of a path as the header has it (RFC 8187).
func fileName(name string) string {
	return strings.ReplaceAll(url.QueryEscape(text(path.Base(name))), "+", "%20")
}
