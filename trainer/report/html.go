package report

import (
	"html/template"
	"io"

	"github.com/vaultpack/vaultpack/internal/printable"
)

// page refers to nothing external, and has no script, since a job's code controls its names
// and log lines.
const page = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{{.Job}}</title>
<style>
body { font: 15px/1.5 sans-serif; color: #333; max-width: 760px; margin: 2em auto; padding: 0 1em }
th { text-align: left; font-weight: normal; color: #777; padding-right: 1.5em; vertical-align: top }
td { overflow-wrap: anywhere }
svg { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>{{.Job}}</h1>
<table>
{{range .Fields}}<tr><th>{{.Name}}</th><td>{{.Text}}</td></tr>
{{end}}</table>
{{.Plots}}{{with .Missing}}<p>{{.}}</p>
{{end}}</body>
</html>
`

// WriteHTML writes the report as a standalone page.
func (r *Report) WriteHTML(w io.Writer) error {
	if r == nil || w == nil {
		return errNoReport
	}
	type row struct{ Name, Text string }
	var rows []row
	for _, f := range r.fields()[1:] {
		rows = append(rows, row{f.name, f.text})
	}
	data := struct {
		Job     string
		Fields  []row
		Plots   template.HTML
		Missing string
	}{Job: r.Job, Fields: rows, Missing: printable.Line("%s", r.Missing)}
	if len(r.Metrics) > 0 {
		data.Plots = template.HTML(r.svg()) // in which all text is escaped
	}
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, data)
}
