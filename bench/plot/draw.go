package main

import (
	"bytes"
	"fmt"
	"html"
	"math"

	"github.com/vaultpack/vaultpack/bench/internal/results"
)

// Sizes of the drawing, in SVG user units.
const (
	panelWidth, panelHeight = 300, 240
	marginLeft, marginTop   = 60, 66
	gap                     = 64
	width                   = marginLeft + 3*panelWidth + 2*gap + 20
	height                  = marginTop + panelHeight + 74
)

// A series is one line in a panel.
type series struct {
	title, name, unit string // %s in name is the size
	color, dash       string
}

func draw(f *results.File) []byte {
	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(c, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	c.text(marginLeft, 20, "start", 15, "#111", "vaultpack: seal and open, from memory, against the bare cipher and other packages")
	c.text(marginLeft, 38, "start", 11, "#555", fmt.Sprintf("%s, %s cores, %s, %s; GB/s = 10^9 bytes per second, more is better",
		f.Config["cpu-model"], f.Config["cores"], f.Config["go"], f.Config["date"]))

	lines := func(name string) []series {
		return []series{
			{"limit, all cores", name + "/workers=all", "limit-MB/s", "#999", "5 3"},
			{"vaultpack, all cores", name + "/workers=all", "MB/s", "#0b62a8", ""},
			{"limit, one core", name + "/workers=1", "limit-MB/s", "#c9a27c", "5 3"},
			{"vaultpack, one core", name + "/workers=1", "MB/s", "#d1600f", ""},
		}
	}
	seal, open := lines("Seal/call=WriteAll/size=%s"), lines("Open/call=WriteTo/size=%s")
	top := 0.0
	for _, s := range append(append([]series{}, seal...), open...) {
		for _, size := range sizes {
			v, _ := f.Median(fmt.Sprintf(s.name, size), s.unit)
			top = max(top, v/1000)
		}
	}
	top = math.Ceil(top + 0.2)
	c.linePanel(f, 0, "Seal, one Write", seal, top)
	c.linePanel(f, 1, "Open, WriteTo", open, top)
	c.barPanel(f, 2)
	c.WriteString("</svg>\n")
	return c.Bytes()
}

type canvas struct{ bytes.Buffer }

func (c *canvas) text(x, y float64, anchor string, size int, color, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s">%s</text>`+"\n", x, y, anchor, size, color, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, color string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, color)
}

// frame draws a panel's title and the grid of speeds from 0 to top, and returns the
// left edge and a function for the position of a speed.
func (c *canvas) frame(panel int, title string, top float64) (left float64, y func(v float64) float64) {
	left = float64(marginLeft + panel*(panelWidth+gap))
	y = func(v float64) float64 { return marginTop + panelHeight*(1-v/top) }
	c.text(left, marginTop-10, "start", 13, "#111", title)
	step := 1.0
	if top > 12 {
		step = math.Ceil(top / 8)
	}
	for v := 0.0; v <= top; v += step {
		c.line(left, y(v), left+panelWidth, y(v), "#e4e4e4")
		c.text(left-6, y(v)+4, "end", 11, "#555", fmt.Sprintf("%.0f", v))
	}
	c.text(left-6, marginTop-10, "end", 11, "#555", "GB/s")
	c.line(left, y(0), left+panelWidth, y(0), "#333")
	return left, y
}

func (c *canvas) linePanel(f *results.File, panel int, title string, all []series, top float64) {
	left, y := c.frame(panel, title, top)
	x := func(i int) float64 { return left + 20 + float64(i)*(panelWidth-40)/float64(len(sizes)-1) }
	for i, size := range sizes {
		c.text(x(i), marginTop+panelHeight+16, "middle", 11, "#555", sizeTitle(size))
	}
	for k, s := range all {
		var points bytes.Buffer
		for i, size := range sizes {
			if v, ok := f.Median(fmt.Sprintf(s.name, size), s.unit); ok {
				fmt.Fprintf(&points, "%.1f,%.1f ", x(i), y(v/1000))
				fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", x(i), y(v/1000), s.color)
			}
		}
		fmt.Fprintf(c, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", points.String(), s.color, s.dash)
		// The legend, two by two below the panel.
		lx, ly := left+float64(k%2)*150, float64(marginTop+panelHeight+38+k/2*18)
		fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", lx, ly-4, lx+22, ly-4, s.color, s.dash)
		c.text(lx+28, ly, "start", 11, "#333", s.title)
	}
}

// barPanel shows every peer at 1 GiB.
func (c *canvas) barPanel(f *results.File, panel int) {
	ops := []struct{ name, color string }{{"Seal", "#0b62a8"}, {"Open", "#7fb2dc"}}
	value := func(op, peer string) float64 {
		unit := "MB/s"
		if peer == "limit" {
			peer, unit = "vaultpack", "limit-MB/s"
		}
		v, _ := f.Median(peerName(op, "1G", peer), unit)
		return v / 1000
	}
	all := append([]string{"limit"}, peers...)
	top := 1.0
	for _, p := range all {
		for _, op := range ops {
			top = max(top, math.Ceil(value(op.name, p)+0.2))
		}
	}
	left, y := c.frame(panel, "Other packages, 1 GiB", top)
	slot := float64(panelWidth) / float64(len(all))
	for i, p := range all {
		for k, op := range ops {
			v := value(op.name, p)
			x := left + float64(i)*slot + 5 + float64(k)*(slot-10)/2
			fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y(v), (slot-12)/2, y(0)-y(v), op.color)
			if v > 0 {
				c.text(x+(slot-12)/4, y(v)-3, "middle", 9, "#333", fmt.Sprintf("%.2g", v))
			}
		}
		c.text(left+(float64(i)+.5)*slot, marginTop+panelHeight+16, "middle", 11, "#555", p)
	}
	for k, op := range ops {
		lx, ly := left+float64(k)*150, float64(marginTop+panelHeight+38)
		fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", lx, ly-10, op.color)
		c.text(lx+18, ly, "start", 11, "#333", map[string]string{"Seal": "seal", "Open": "open"}[op.name])
	}
}
