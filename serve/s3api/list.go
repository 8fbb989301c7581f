package s3api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/serve"
)

// maxKeys is the most that one answer has.
const maxKeys = 1000

// A wish is what a list is asked for.
type wish struct {
	prefix, delimiter string
	from              string // no key before it
	most              int
	writing           writing
}

// An item is a key, or what keys have in common.
type item struct {
	key   string
	entry *tree.Entry // nil if it is a prefix
}

// next is the least key that comes behind the item and what it stands for.
func (i item) next() string {
	if i.entry != nil {
		return i.key + "\x00"
	}
	return behind(i.key)
}

// behind is the least string that comes after all that begin with the prefix, or "" if
// there is none.
func behind(prefix string) string {
	for n := len(prefix); n > 0; n-- {
		if c := prefix[n-1]; c < 0xFF {
			return prefix[:n-1] + string([]byte{c + 1})
		}
	}
	return ""
}

// list returns the first items that are wished for, and whether there are more.
func list(v *view.View, w wish) (items []item, more bool, err error) {
	from := max(w.from, w.prefix)
	for {
		skipTo := ""
		for e, err := range v.Entries(from) {
			if err != nil {
				return nil, false, err
			}
			if !strings.HasPrefix(e.Path, w.prefix) {
				return items, false, nil
			}
			file, err := serve.Target(v, e)
			if err != nil {
				return nil, false, err
			}
			if file == nil {
				continue
			}
			if len(items) == w.most {
				return items, true, nil
			}
			i := item{key: e.Path, entry: file}
			if w.delimiter != "" {
				if at := strings.Index(e.Path[len(w.prefix):], w.delimiter); at >= 0 {
					i = item{key: e.Path[:len(w.prefix)+at+len(w.delimiter)]}
				}
			}
			if items = append(items, i); i.entry == nil {
				skipTo = i.next()
				break
			}
		}
		if skipTo == "" {
			return items, false, nil
		}
		from = skipTo
	}
}

// wish reads what is common to all lists.
func (r *request) wish() (w wish, err error) {
	w = wish{prefix: r.query.Get("prefix"), delimiter: r.query.Get("delimiter"), most: maxKeys, writing: writing(r.query.Get("encoding-type"))}
	if w.writing != "" && w.writing != "url" {
		return w, errArgument
	}
	if text := r.query.Get("max-keys"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return w, errArgument
		}
		w.most = int(min(n, maxKeys))
	}
	return w, nil
}

// after has the list begin behind a key, or behind all that has a prefix which the list
// would have in its place.
func (w *wish) after(key string) {
	if key == "" {
		return
	}
	w.from = key + "\x00"
	if rest, ok := strings.CutPrefix(key, w.prefix); ok && w.delimiter != "" &&
		strings.HasSuffix(rest, w.delimiter) && strings.Index(rest, w.delimiter) == len(rest)-len(w.delimiter) {
		if w.from = behind(key); w.from == "" {
			w.most = 0
		}
	}
}

// listObjects answers ListObjects and ListObjectsV2.
func (h *handler) listObjects(w http.ResponseWriter, r *request) error {
	if err := r.asks(listQuery); err != nil {
		return err
	}
	want, err := r.wish()
	if err != nil {
		return err
	}
	form := generation(1)
	if r.query.Get("list-type") == "2" {
		form = 2
	}
	out := listing{Xmlns: xmlns, Name: r.bucket, MaxKeys: want.most, EncodingType: string(want.writing)}
	start := r.query.Get("marker")
	if form == 2 {
		start = r.query.Get("start-after")
	}
	if want.after(start); form == 2 && r.query.Has("continuation-token") {
		out.ContinuationToken = r.query.Get("continuation-token")
		from, err := base64.RawURLEncoding.DecodeString(out.ContinuationToken)
		if err != nil || len(from) == 0 {
			return errContinuation
		}
		want.from = string(from)
	}
	v, release, err := h.catalog.View(r.Context(), r.dataset, r.number)
	if err != nil {
		return err
	}
	defer release()
	var items []item
	if want.most > 0 {
		if items, out.IsTruncated, err = list(v, want); err != nil {
			return err
		}
	}
	if err := out.describe(want, start, form, items); err != nil {
		return err
	}
	for _, i := range items {
		if err := out.add(v, want.writing, i); err != nil {
			return err
		}
	}
	return writeXML(w, http.StatusOK, out)
}

// A generation tells ListObjects from ListObjectsV2.
type generation int

// describe tells what was asked for, and where the next list begins.
func (l *listing) describe(w wish, start string, form generation, items []item) (err error) {
	var last item
	if l.IsTruncated {
		last = items[len(items)-1]
	}
	written := func(s string) string {
		text, terr := w.writing.text(s)
		if terr != nil {
			err = terr
		}
		return text
	}
	l.Prefix, l.Delimiter = written(w.prefix), written(w.delimiter)
	start = written(start)
	if form == 2 {
		n := len(items)
		l.StartAfter, l.KeyCount = start, &n
		if l.IsTruncated {
			l.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(last.next()))
		}
		return err
	}
	l.Marker = &start
	if l.IsTruncated {
		l.NextMarker = written(last.key)
	}
	return err
}

// add adds an item.
func (l *listing) add(v *view.View, e writing, i item) error {
	key, err := e.text(i.key)
	if err != nil {
		return err
	}
	if i.entry == nil {
		l.CommonPrefixes = append(l.CommonPrefixes, commonPrefix{key})
		return nil
	}
	l.Contents = append(l.Contents, content{Key: key, LastModified: xmlTime(serve.Modified(v.Version(), i.entry)),
		ETag: serve.ETag(v.Version(), i.entry), Size: i.entry.Size, StorageClass: "STANDARD"})
	return nil
}
