package browse_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A chromium is a real browser, driven through a pipe by its DevTools protocol.
type chromium struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	n       int
	bad     []string // what it has told of: exceptions, dialogs, what its policies refuse
}

func newChromium(t *testing.T) *chromium {
	t.Helper()
	if os.Getenv("VAULTPACK_CHROMIUM") != "1" {
		t.Skip("not asked for: VAULTPACK_CHROMIUM=1, with Debian's chromium")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	in, to, err := os.Pipe()
	must(t, err)
	from, out, err := os.Pipe()
	must(t, err)
	home, err := os.MkdirTemp("", "browse") // it may still write there when it ends
	must(t, err)
	cmd := exec.CommandContext(t.Context(), program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--remote-debugging-pipe", "--user-data-dir="+home, "about:blank")
	cmd.ExtraFiles = []*os.File{in, out}
	must(t, cmd.Start())
	in.Close()
	out.Close()
	c := &chromium{t: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		to.Close() // then it ends
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		late.Stop()
		from.Close()
		os.RemoveAll(home)
	})
	var target struct{ TargetID string }
	must(t, json.Unmarshal(c.call("Target.createTarget", map[string]any{"url": "about:blank"}), &target))
	var attached struct{ SessionID string }
	must(t, json.Unmarshal(c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &attached))
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		c.call(domain+".enable", nil)
	}
	return c
}

// call calls a method, and notes what is told meanwhile.
func (c *chromium) call(method string, params map[string]any) json.RawMessage {
	c.t.Helper()
	c.n++
	message := map[string]any{"id": c.n, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" {
		message["sessionId"] = c.session
	}
	b, err := json.Marshal(message)
	must(c.t, err)
	_, err = c.to.Write(append(b, 0))
	must(c.t, err)
	for {
		b, err := c.from.ReadBytes(0)
		must(c.t, err)
		var answer struct {
			ID     int
			Method string
			Result json.RawMessage
			Error  json.RawMessage
		}
		must(c.t, json.Unmarshal(bytes.TrimSuffix(b, []byte{0}), &answer))
		switch answer.Method {
		case "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening":
			c.bad = append(c.bad, string(b))
		}
		if answer.ID == c.n {
			if answer.Error != nil {
				c.t.Fatalf("%s: %s", method, answer.Error)
			}
			return answer.Result
		}
	}
}

// until waits for an expression to be true.
func (c *chromium) until(expression string) {
	c.t.Helper()
	for range 600 {
		var answer struct{ Result struct{ Value any } }
		must(c.t, json.Unmarshal(c.call("Runtime.evaluate", map[string]any{"expression": "Boolean(" + expression + ")", "returnByValue": true}), &answer))
		if answer.Result.Value == true {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("it does not come to %s: %q", expression, c.bad)
}

// click clicks the first button with a text.
func (c *chromium) click(text string) {
	c.t.Helper()
	b, err := json.Marshal(text)
	must(c.t, err)
	c.until(`[...document.querySelectorAll("button")].filter((b) => b.textContent.includes(` + string(b) + `)).slice(0, 1).map((b) => (b.click(), b))[0]`)
}

// A real browser shows pictures and every view, and runs nothing that a dataset holds.
func TestChromium(t *testing.T) {
	c := newChromium(t)
	var picture bytes.Buffer
	must(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 20, 30))))
	hostile := `<img src=x onerror=alert(1)>.html`
	s := newStand(t)
	s.push("<img src=x onerror=alert(1)>", map[string]string{"train/a.png": picture.String(), hostile: "<script>alert(1)</script>", "t.csv": "a,b\n<b>1,2\n"})
	s.push("two", map[string]string{"train/a.png": picture.String() + "x", "train/b.png": picture.String(), hostile: "<script>alert(2)</script>", "t.csv": "a,b\n<b>1,2\n"})
	s.start()
	c.call("Page.navigate", map[string]any{"url": s.entry})
	c.until(`document.querySelector(".files")`)
	c.until(`document.cookie === "" && location.href.indexOf("enter") < 0`)
	c.click(hostile)
	c.until(`document.querySelector("#viewer pre")?.textContent === "<script>alert(2)</script>"`)
	c.click("Close")
	c.click("t.csv")
	c.until(`document.querySelector("#viewer td:nth-child(2)")?.textContent === "<b>1"`)
	c.click("Close")
	c.click("train/")
	c.until(`[...document.querySelectorAll(".thumb img")].filter((i) => i.naturalWidth === 20).length === 2`)
	c.click("a.png")
	c.until(`document.querySelector("#viewer img")?.naturalHeight === 30`)
	c.click("Close")
	c.click("Distribution")
	c.until(`document.querySelector(".histogram .fill")`)
	c.click("Versions")
	c.until(`document.querySelectorAll(".timeline li").length === 2 && document.querySelector("main").textContent.includes("<img src=x")`)
	c.click("What changed since")
	c.until(`document.querySelectorAll(".pair img").length === 2 && document.querySelector(".tile.added img")?.naturalWidth === 20`)
	if c.bad != nil || s.failures() != "" {
		t.Errorf("the browser tells of %q, the server of %q", c.bad, s.failures())
	}
	c.until(`(() => { try { document.body.innerHTML = "<b>" } catch { return true } })()`)
}
