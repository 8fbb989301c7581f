package report

import (
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/trainer/metrics"
)

// Sizes of the pictures, in pixels.
const (
	svgWidth  = 720
	svgHead   = 44  // above the first plot
	svgPlot   = 120 // of one plot, with
	svgTop    = 28  // above it and
	svgBottom = 26  // below it
	svgLeft   = 84
	svgRight  = 16
)

// WriteSVG writes the plots of the metrics as one picture, which refers to nothing
// external.
func (r *Report) WriteSVG(w io.Writer) error {
	if r == nil || w == nil {
		return errNoReport
	}
	_, err := io.WriteString(w, r.svg())
	return err
}

func (r *Report) svg() string {
	var b strings.Builder
	each := svgTop + svgPlot + svgBottom
	height := svgHead + each*len(r.Metrics)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="#333">`+"\n", svgWidth, height, svgWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="26" font-size="15">%s</text>`+"\n", svgRight, text(r.Job+": "+r.state()))
	for i, m := range r.Metrics {
		drawMetric(&b, svgHead+i*each, m)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// text prepares a text for the document: it removes invisible characters and those not allowed
// in XML.
func text(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
}

func drawMetric(b *strings.Builder, y int, m metrics.Series) {
	top, bottom, right := y+svgTop, y+svgTop+svgPlot, svgWidth-svgRight
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", svgRight, y+16, text(describe(m)))
	fmt.Fprintf(b, `<path d="M%d %dV%dH%d" fill="none" stroke="#999"/>`+"\n", svgLeft, top, bottom, right)
	if len(m.Points) == 0 {
		return
	}
	low, high := *m.Min, *m.Max
	if low == high { // a flat line in the middle
		low, high = low-1, high+1
	}
	label := func(at int, v float64) {
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%.4g</text>`+"\n", svgLeft-6, at+4, v)
	}
	label(top, high)
	label(bottom, low)
	first, last := clock(m.Points)
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", svgLeft, bottom+16, first, right, bottom+16, last)
	begin, span := m.Points[0].Time, m.Points[len(m.Points)-1].Time.Sub(m.Points[0].Time)
	place := func(i int) (x, y float64) {
		at := 0.5
		switch {
		case span > 0:
			at = float64(m.Points[i].Time.Sub(begin)) / float64(span)
		case len(m.Points) > 1:
			at = float64(i) / float64(len(m.Points)-1)
		}
		// Halves, since the difference of two values may be more than a float holds.
		up := 0.5
		if all := high/2 - low/2; all > 0 { // false if low is so large that low-1 is low
			up = (m.Points[i].Value/2 - low/2) / all
		}
		return svgLeft + at*float64(right-svgLeft), float64(bottom) - up*svgPlot
	}
	if len(m.Points) == 1 {
		x, y := place(0)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#06c"/>`+"\n", x, y)
		return
	}
	b.WriteString(`<polyline fill="none" stroke="#06c" stroke-width="1.5" points="`)
	for i := range m.Points {
		x, y := place(i)
		fmt.Fprintf(b, "%.1f,%.1f ", x, y)
	}
	b.WriteString(`"/>` + "\n")
}
