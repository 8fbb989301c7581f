package web

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// shown are the types that a browser may show: nothing in them runs. Every other file is
// stored.
var shown = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp", ".avif": "image/avif",
	".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp4": "video/mp4", ".webm": "video/webm",
	".txt": plain, ".csv": plain, ".tsv": plain, ".json": plain, ".jsonl": plain, ".md": plain, ".log": plain, ".yaml": plain, ".yml": plain, ".toml": plain,
}

const (
	plain  = "text/plain; charset=utf-8"
	opaque = "application/octet-stream"
)

// contentType returns what a file is said to be, by its name.
func contentType(name string) string {
	if t := shown[strings.ToLower(path.Ext(name))]; t != "" {
		return t
	}
	return opaque
}

// describe tells a browser what a file is, and to run nothing in it.
func describe(h http.Header, name string) {
	t := contentType(name)
	how := "inline"
	if t == opaque {
		how = "attachment"
	}
	h.Set("Content-Type", t)
	base := strings.ToValidUTF8(path.Base(name), "_")
	h.Set("Content-Disposition", how+"; filename*=UTF-8''"+strings.ReplaceAll(url.QueryEscape(base), "+", "%20"))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}
