package browse

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/serve"
)

// Bounds of a preview.
const (
	headSize   = 256 << 10 // of a text or table, in bytes
	hexSize    = 4 << 10   // of what is shown in hex at one time
	maxRows    = 200
	maxColumns = 60
	maxCell    = 500 // bytes
)

// A preview is what the page shows of a file. Of Text, Rows and Hex, it has the one that Shown names.
type preview struct {
	item
	Shown   string     `json:"shown"` // image, audio, table, text, hex, empty or folder
	Type    string     `json:"type,omitempty"`
	Text    string     `json:"text,omitempty"`
	Columns []string   `json:"columns,omitempty"`
	Rows    [][]string `json:"rows,omitempty"`
	Hex     []byte     `json:"hex,omitempty"` // in base64
	At      int64      `json:"at"`            // where Hex begins
	Cut     bool       `json:"cut"`           // there is more
}

// file returns the beginning of a file in the form in which it is shown. With as=hex it is shown in hex, from the
// offset at on; with as=text, a table is shown as text.
func file(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, v, release, err := h.open(r)
	if err != nil {
		return err
	}
	defer release()
	info, err := v.Stat(q.path)
	if err != nil {
		return err
	}
	if i, ok := info.(view.Info); ok && i.IsDir() {
		sendJSON(w, r, http.StatusOK, preview{item: newItem(i.Entry(), ""), Shown: "folder"})
		return nil
	}
	f, err := serve.OpenFile(v, q.path)
	if err != nil {
		return err
	}
	at, err := number(r.URL.Query().Get("at"))
	if err != nil {
		return err
	}
	p := preview{item: newItem(f.Entry(), "")}
	if p.Size == 0 {
		p.Shown = "empty"
		sendJSON(w, r, http.StatusOK, p)
		return nil
	}
	as := r.URL.Query().Get("as")
	if as != "hex" {
		at = 0
	}
	size := headSize
	if as == "hex" {
		size = hexSize
	}
	head := make([]byte, min(int64(size), max(0, f.Size()-at)))
	if _, err := f.ReadAtContext(r.Context(), head, at); err != nil && err != io.EOF {
		return err
	}
	p.show(head, at, as)
	sendJSON(w, r, http.StatusOK, p)
	return nil
}

// show fills the preview from the bytes of the file at an offset.
func (p *preview) show(head []byte, at int64, as string) {
	p.Cut = at+int64(len(head)) < p.Size
	if as != "hex" {
		if t := contentType(head); t != opaque && as == "" {
			p.Shown, p.Type = strings.SplitN(t, "/", 2)[0], t
			return
		}
		if isText(head, p.Cut) {
			if as != "text" && p.table(head) {
				return
			}
			p.Shown, p.Text = "text", strings.ToValidUTF8(string(head), "")
			return
		}
		head = head[:min(len(head), hexSize)]
		p.Cut = int64(len(head)) < p.Size
	}
	p.Shown, p.Hex, p.At = "hex", head, at
}

// isText reports whether b is UTF-8 without control characters that no text has. The last character may be
// cut off.
func isText(b []byte, cut bool) bool {
	if cut {
		for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
			if utf8.RuneStart(b[len(b)-i]) {
				if !utf8.FullRune(b[len(b)-i:]) {
					b = b[:len(b)-i]
				}
				break
			}
		}
	}
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\r\f\x1b", r) })
}

// table makes the beginning of a file of records a table, if its name says that it is one and it can be read so.
func (p *preview) table(head []byte) bool {
	if p.Cut { // the last line may not be whole
		head = head[:bytes.LastIndexByte(head, '\n')+1]
	}
	var all [][]string
	switch extension(p.Name) {
	case ".csv":
		all = records(head, ',')
	case ".tsv", ".tab":
		all = records(head, '\t')
	case ".jsonl", ".ndjson":
		all = objects(head)
	}
	if len(all) < 2 {
		return false
	}
	if len(all) > maxRows+1 {
		all, p.Cut = all[:maxRows+1], true
	}
	for i, row := range all {
		if len(row) > maxColumns {
			row = append(row[:maxColumns:maxColumns], "…")
		}
		for k, cell := range row {
			if len(cell) > maxCell {
				row[k] = strings.ToValidUTF8(cell[:maxCell], "") + "…"
			}
		}
		all[i] = row
	}
	p.Shown, p.Columns, p.Rows = "table", all[0], all[1:]
	return true
}

// records reads values that are separated, up to one row more than are shown. It returns nil if they cannot be read.
func records(b []byte, comma rune) (all [][]string) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = comma, true, -1
	for len(all) < maxRows+2 {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil
		}
		all = append(all, row)
	}
	return all
}

// objects reads a JSON object from each line. The columns are their names, in the order in which they first occur; those
// of one object are sorted. It returns nil if a line holds something else.
func objects(b []byte) [][]string {
	var columns []string
	var rows []map[string]json.RawMessage
	seen := map[string]bool{}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(rows) > maxRows {
			break
		}
		var row map[string]json.RawMessage
		if json.Unmarshal(line, &row) != nil || row == nil {
			return nil
		}
		rows = append(rows, row)
		var added []string
		for name := range row {
			if !seen[name] {
				seen[name] = true
				added = append(added, name)
			}
		}
		slices.Sort(added)
		if columns = append(columns, added...); len(columns) > maxColumns+1 {
			columns = columns[:maxColumns+1] // show tells that there are more
		}
	}
	if len(rows) == 0 {
		return nil
	}
	all := [][]string{columns}
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, name := range columns {
			cells[i] = cell(row[name])
		}
		all = append(all, cells)
	}
	return all
}

// cell is a string as it reads, and any other value as JSON.
func cell(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}
