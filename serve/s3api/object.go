package s3api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/serve"
)

// getObject answers GetObject and HeadObject.
func (h *handler) getObject(w http.ResponseWriter, r *request) error {
	if err := r.asks(objectQuery); err != nil {
		return err
	}
	number, err := r.version()
	if err != nil {
		return err
	}
	v, release, err := h.catalog.View(r.Context(), r.dataset, number)
	if errors.Is(err, serve.ErrUnknown) && r.query.Has("versionId") {
		return errNoVersion
	}
	if err != nil {
		return err
	}
	defer release()
	f, err := serve.OpenFile(v, r.key)
	if err != nil {
		return err
	}
	e := f.Entry()
	tag, modified := serve.ETag(v.Version(), e), serve.Modified(v.Version(), e)
	header := w.Header()
	header.Set("ETag", tag)
	header.Set("Last-Modified", modified.Format(http.TimeFormat))
	header.Set("X-Amz-Version-Id", strconv.FormatInt(v.Version().Number, 10))
	header.Set("Accept-Ranges", "bytes")
	if err := serve.Conditions(r.Header, tag, modified); err != nil {
		return err
	}
	p, err := r.portion(e.Size, tag)
	if err != nil {
		if errors.Is(err, serve.ErrRange) {
			header.Set("Content-Range", fmt.Sprintf("bytes */%d", e.Size))
		}
		return err
	}
	if !p.Part && e.Sum != nil && strings.EqualFold(r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(e.Sum))
		header.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
	return h.send(w, r, f, p)
}

// send sends a portion of a file. If that fails midway, it ends the connection.
func (h *handler) send(w http.ResponseWriter, r *request, f *view.File, p serve.Portion) error {
	w.Header().Set("Content-Type", "binary/octet-stream")
	begun, err := serve.Send(w, r.Request, f, p)
	switch {
	case err == nil:
		return nil
	case !begun:
		return err
	case r.Context().Err() == nil:
		h.failed(r.dataset, r.key, err)
	}
	panic(http.ErrAbortHandler)
}

// portion is what a request asks for of an object, which has one part.
func (r *request) portion(size int64, tag string) (serve.Portion, error) {
	if !r.query.Has("partNumber") {
		return serve.Range(r.Header, tag, size)
	}
	if r.query.Get("partNumber") != "1" || r.Header.Get("Range") != "" {
		return serve.Portion{}, errPartNumber
	}
	return serve.Portion{Length: size, Part: size > 0}, nil
}

// version is the number that versionId asks for, or else the bucket's.
func (r *request) version() (int64, error) {
	if !r.query.Has("versionId") {
		return r.number, nil
	}
	n, err := strconv.ParseInt(r.query.Get("versionId"), 10, 64)
	if err != nil || n < 1 {
		return 0, errNoVersion
	}
	if r.pinned && n != r.number {
		return 0, errVersionOfVersion
	}
	return n, nil
}
