// Command testrun runs go test and reports which tests were skipped. go test itself
// does not mention a test that skips itself, so a package whose tests could not run
// looks like one whose tests passed.
//
//	go run ./internal/testrun [flags] [--] [arguments of go test]
//
// A package that was ended by a crash of the race detector, not by one of its tests,
// is run once more.
//
// It exits with 1 if a test fails, if a package does not build, or if no test ran at
// all. Its last line says how many tests ran.
//
// Several runs can share a ledger. The last of them, with -rest, runs the tests that
// the others skipped, and fails if any test ran in none of them:
//
//	go run ./internal/testrun -ledger f ./...
//	go run ./internal/testrun -ledger f -- -race ./...
//	go run ./internal/testrun -ledger f -rest
//
// With -total it runs nothing, and prints the totals of the ledger.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

func main() {
	file := flag.String("ledger", "", "`file` to which results are added")
	rest := flag.Bool("rest", false, "run what the runs in the ledger left out, and fail if a test is left out again")
	allow := flag.String("allow", "^$", "with -rest: a `pattern` of reasons for which a test may be left out by all runs")
	total := flag.Bool("total", false, "print the total of the ledger")
	flag.Parse()
	if *total {
		book, err := readLedger(*file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "testrun:", err)
			os.Exit(1)
		}
		fmt.Println(book.total())
		return
	}
	allowed, err := regexp.Compile(*allow)
	if err == nil {
		err = run(os.Stdout, *file, *rest, allowed, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, file string, rest bool, allow *regexp.Regexp, args []string) error {
	book, err := readLedger(file)
	if err != nil {
		return err
	}
	runs := [][]string{args}
	if rest {
		if runs = book.rest(args); len(runs) == 0 {
			fmt.Fprintf(out, "nothing was left out: %s\n", book.total())
			return nil
		}
	}
	all := newReport(out)
	var failed error
	for _, args := range runs {
		fmt.Fprintf(out, "go test %s\n", strings.Join(args, " "))
		failed = errors.Join(failed, goTest(all, args))
	}
	if len(all.crashed) > 0 && all.failed == 0 && !all.broken {
		again := append(flags(args), all.crashed...)
		fmt.Fprintf(out, "the race detector itself crashed, so once more: go test %s\n", strings.Join(again, " "))
		failed = goTest(all, again)
	}
	book.add(all)
	if err := book.write(file); err != nil {
		return err
	}
	all.summary()
	switch {
	case failed != nil:
		return failed
	case all.failed > 0:
		return fmt.Errorf("%d tests failed", all.failed)
	case !rest && all.passed == 0:
		return errors.New("no test ran")
	}
	if left := book.left(allow); rest && len(left) > 0 {
		return fmt.Errorf("no run ran: %s", strings.Join(left, ", "))
	}
	return nil
}

// flags returns the arguments before the packages.
func flags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.HasPrefix(arg, "./") })
}

// goTest adds the events of one go test to the report. It reports that go test
// exited with 1 only after everything has been read: the report has said why.
func goTest(r *report, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	read := r.read(pipe)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return read
}
