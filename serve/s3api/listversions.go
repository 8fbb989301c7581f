package s3api

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/serve"
)

// A variant is an item as it is in one version. The entry of one that is not in the newest
// is missing there: a delete marker.
type variant struct {
	item
	version *dataset.Version
	latest  bool
	removed bool
}

// listVersions answers ListObjectVersions: every key as it is in each version that has it,
// the newest first. A key that the newest does not have gets a delete marker of its number.
func (h *handler) listVersions(w http.ResponseWriter, r *request) error {
	if err := r.asks(versQuery); err != nil {
		return err
	}
	want, err := r.wish()
	if err != nil {
		return err
	}
	keyMarker, idMarker := r.query.Get("key-marker"), r.query.Get("version-id-marker")
	before := int64(0) // only versions before it, of the key that is the marker
	if idMarker != "" {
		if before, err = strconv.ParseInt(idMarker, 10, 64); err != nil || keyMarker == "" || before < 1 {
			return errArgument
		}
		want.from = keyMarker
	} else {
		want.after(keyMarker)
	}
	out := versionList{Xmlns: xmlns, Name: r.bucket, MaxKeys: want.most, EncodingType: string(want.writing)}
	var all []variant
	if want.most > 0 {
		all, err = h.variants(r, want)
	}
	if err != nil {
		return err
	}
	if before > 0 {
		all = slices.DeleteFunc(all, func(v variant) bool { return v.entry != nil && v.key == keyMarker && v.version.Number >= before })
	}
	if out.IsTruncated = len(all) > want.most; out.IsTruncated {
		all = all[:want.most]
	}
	if err := out.describe(want, keyMarker, idMarker, all); err != nil {
		return err
	}
	for _, v := range all {
		if err := out.add(want.writing, v); err != nil {
			return err
		}
	}
	return writeXML(w, http.StatusOK, out)
}

// variants returns at least one more than the first of what is wished for, if there are so
// many, in order: of each version, what comes first in it.
func (h *handler) variants(r *request, want wish) ([]variant, error) {
	numbers := []int64{r.number}
	if !r.pinned {
		var err error
		if numbers, err = h.catalog.Versions(r.Context(), r.dataset); err != nil {
			return nil, err
		}
	}
	want.most++ // and so it is known whether there are more
	var all []variant
	for _, n := range slices.Backward(numbers) {
		v, release, err := h.catalog.View(r.Context(), r.dataset, n)
		if err != nil {
			return nil, err
		}
		items, _, err := list(v, want)
		release()
		if err != nil {
			return nil, err
		}
		newest := n == numbers[len(numbers)-1]
		for _, i := range items {
			all = append(all, variant{item: i, version: v.Version(), latest: newest})
		}
		all = first(all, want.most)
	}
	return h.withMarkers(r, all, numbers[len(numbers)-1])
}

// first returns the first n keys of all, with their variants, the newest of each first; of a
// prefix once.
func first(all []variant, n int) []variant {
	slices.SortStableFunc(all, func(a, b variant) int { return strings.Compare(a.key, b.key) })
	all = slices.CompactFunc(all, func(a, b variant) bool { return a.key == b.key && a.entry == nil && b.entry == nil })
	keys := 0
	for i, v := range all {
		if i == 0 || v.key != all[i-1].key {
			if keys++; keys > n {
				return slices.Clip(all[:i])
			}
		}
	}
	return all
}

// withMarkers puts delete markers before the variants of keys that the newest version does
// not have.
func (h *handler) withMarkers(r *request, all []variant, newest int64) ([]variant, error) {
	version, err := h.catalog.Version(r.Context(), r.dataset, newest)
	if err != nil {
		return nil, err
	}
	var out []variant
	for i, v := range all {
		if v.entry != nil && !v.latest && (i == 0 || all[i-1].key != v.key) {
			out = append(out, variant{item: v.item, version: version, latest: true, removed: true})
		}
		out = append(out, v)
	}
	return out, nil
}

// describe tells what was asked for, and where the next list begins.
func (l *versionList) describe(w wish, keyMarker, idMarker string, all []variant) (err error) {
	written := func(s string) string {
		text, terr := w.writing.text(s)
		if terr != nil {
			err = terr
		}
		return text
	}
	l.Prefix, l.Delimiter, l.KeyMarker, l.VersionIDMarker = written(w.prefix), written(w.delimiter), written(keyMarker), idMarker
	if l.IsTruncated {
		last := all[len(all)-1]
		l.NextKeyMarker = written(last.key)
		if last.entry != nil {
			l.NextVersionIDMarker = strconv.FormatInt(last.version.Number, 10)
		}
	}
	return err
}

// add adds a variant.
func (l *versionList) add(e writing, v variant) error {
	key, err := e.text(v.key)
	if err != nil {
		return err
	}
	if v.entry == nil {
		l.CommonPrefixes = append(l.CommonPrefixes, commonPrefix{key})
		return nil
	}
	i := versionItem{XMLName: xml.Name{Local: "Version"}, Key: key, VersionID: strconv.FormatInt(v.version.Number, 10), IsLatest: v.latest}
	if v.removed {
		i.XMLName.Local = "DeleteMarker"
		i.LastModified = xmlTime(v.version.Created)
	} else {
		i.LastModified, i.ETag, i.Size, i.StorageClass = xmlTime(serve.Modified(v.version, v.entry)), serve.ETag(v.version, v.entry), &v.entry.Size, "STANDARD"
	}
	l.Items = append(l.Items, i)
	return nil
}
