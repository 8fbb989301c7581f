package browse

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/printable"
)

// datasets lists names only: reading a version can cost a call of KMS.
func datasets(h *handler, w http.ResponseWriter, r *http.Request) error {
	sendJSON(w, r, http.StatusOK, struct {
		Datasets []string `json:"datasets"`
	}{append([]string{}, h.catalog.Names()...)})
	return nil
}

// A versionItem is a version as the page gets it.
type versionItem struct {
	Number  int64     `json:"number"`
	Created time.Time `json:"created"`
	Message string    `json:"message"`
	Signer  string    `json:"signer"`
	Role    string    `json:"role"` // of the signer now: owner, writer, or empty
	Digest  string    `json:"digest"`
	Files   int64     `json:"files"`
	Bytes   int64     `json:"bytes"`
	Sealed  int64     `json:"sealed"`
	Flaws   int64     `json:"flaws"`
	Partial bool      `json:"partial"` // shards of its plan are missing
	Tags    []string  `json:"tags"`
	Error   string    `json:"error,omitempty"`
}

// versionsAtOnce is how many roots are read for one response.
const versionsAtOnce = 20

// versions lists versions, the newest first, from the one before the version v of the request on.
func versions(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, err := parse(r)
	if err != nil {
		return err
	}
	newest, err := h.catalog.Version(r.Context(), q.dataset, 0)
	if err != nil {
		return err
	}
	all, err := h.catalog.Versions(r.Context(), q.dataset)
	if err != nil {
		return err
	}
	answer := struct {
		Versions []versionItem `json:"versions"`
		Total    int           `json:"total"`
		Before   int64         `json:"before,omitempty"` // where the rest begins
	}{Versions: []versionItem{}, Total: len(all)}
	for _, n := range slices.Backward(all) {
		if q.version > 0 && n >= q.version {
			continue
		}
		if len(answer.Versions) == versionsAtOnce {
			answer.Before = answer.Versions[versionsAtOnce-1].Number
			break
		}
		v, err := h.catalog.Version(r.Context(), q.dataset, n)
		if err != nil {
			h.tell(r, err)
			answer.Versions = append(answer.Versions, versionItem{Number: n, Tags: []string{}, Error: printable.Line("%v", err)})
			continue
		}
		answer.Versions = append(answer.Versions, newVersionItem(v, newest))
	}
	sendJSON(w, r, http.StatusOK, answer)
	return nil
}

func newVersionItem(v, newest *dataset.Version) versionItem {
	i := versionItem{Number: v.Number, Created: v.Created, Message: printable.Line("%s", v.Message), Signer: v.Signer.ID().String(), Digest: v.Digest(),
		Files: v.Totals.Files, Bytes: v.Totals.Bytes, Sealed: v.Totals.SealedBytes, Flaws: v.Totals.Flaws, Partial: v.Partial, Tags: []string{}}
	for _, s := range newest.Signers() {
		if s.Key.ID() == v.Signer.ID() {
			i.Role = map[bool]string{true: "owner", false: "writer"}[s.Owner]
		}
	}
	for _, t := range newest.Tags() {
		if t.Number == v.Number {
			i.Tags = append(i.Tags, text(t.Name))
		}
	}
	return i
}

// folderAt returns the path of a folder, empty or with a slash at its end.
func folderAt(v *view.View, name string) (string, error) {
	info, err := v.Stat(name)
	if err != nil {
		return "", err
	}
	i, ok := info.(view.Info)
	if !ok || !i.IsDir() {
		return "", fs.ErrNotExist
	}
	return i.Entry().Path, nil
}

// A list is a page of entries.
type list struct {
	Items   []item `json:"items"`
	Scanned int    `json:"scanned,omitempty"` // entries that were searched
	Next    string `json:"next,omitempty"`    // where the rest begins
}

// folder lists what lies directly in a folder.
func folder(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, v, release, err := h.open(r)
	if err != nil {
		return err
	}
	defer release()
	at, err := folderAt(v, q.path)
	if err != nil {
		return err
	}
	all, next, err := children(v, at, q.from, pageSize)
	if err != nil {
		return err
	}
	answer := list{Items: []item{}}
	for _, e := range all {
		answer.Items = append(answer.Items, newItem(e, at))
	}
	if next != "" {
		answer.Next = encodePath(next)
	}
	sendJSON(w, r, http.StatusOK, answer)
	return nil
}

// children returns up to n entries that lie directly in a folder, behind the one with the path after, and the path behind
// which the rest follows.
func children(v *view.View, folder, after string, n int) (all []*tree.Entry, next string, err error) {
	var last *tree.Entry
	if after != "" {
		if !strings.HasPrefix(after, folder) || after == folder {
			return nil, "", errBadRequest
		}
		last = &tree.Entry{Path: after}
	}
	for e, err := range v.Children(&tree.Entry{Path: folder}, last) {
		if err != nil {
			return nil, "", err
		}
		if len(all) == n {
			return all, all[n-1].Path, nil
		}
		all = append(all, e)
	}
	return all, "", nil
}

// maxQuery bounds what can be searched for, in bytes.
const maxQuery = 256

// search finds entries below a folder whose path has all words of the query, in any case.
func search(h *handler, w http.ResponseWriter, r *http.Request) error {
	words := strings.Fields(strings.ToLower(r.URL.Query().Get("q")))
	if len(words) == 0 || len(r.URL.Query().Get("q")) > maxQuery {
		return errBadRequest
	}
	q, v, release, err := h.open(r)
	if err != nil {
		return err
	}
	defer release()
	at, err := folderAt(v, q.path)
	if err != nil {
		return err
	}
	answer := list{Items: []item{}}
	next, err := scan(v, at, q.from, func(e *tree.Entry, below string) error {
		path := strings.ToLower(below)
		for _, word := range words {
			if !strings.Contains(path, word) {
				return nil
			}
		}
		if len(answer.Items) == pageSize {
			return errEnough
		}
		answer.Items = append(answer.Items, newItem(e, at))
		return nil
	}, &answer.Scanned)
	if err != nil {
		return err
	}
	answer.Next = next
	sendJSON(w, r, http.StatusOK, answer)
	return nil
}

// errEnough says that an entry, and what follows it, is left to the next request.
var errEnough = errors.New("enough")

// scan passes the entries below a folder to use, from a path on, for as long as one request may take. It returns where
// the next goes on, encoded, or an empty string at the end.
func scan(v *view.View, folder, from string, use func(e *tree.Entry, below string) error, scanned *int) (next string, err error) {
	if !strings.HasPrefix(from, folder) {
		from = folder
	}
	until := time.Now().Add(scanTime)
	for e, err := range v.Entries(from) {
		if err != nil {
			return "", err
		}
		below, in := strings.CutPrefix(e.Path, folder)
		if !in {
			break
		}
		if below == "" {
			continue
		}
		if *scanned > 0 && (*scanned >= scanEntries || *scanned%256 == 0 && time.Now().After(until)) {
			return encodePath(e.Path), nil
		}
		switch err := use(e, below); {
		case err == errEnough:
			return encodePath(e.Path), nil
		case err != nil:
			return "", err
		}
		*scanned++
	}
	return "", nil
}
