// Command kmsserve is the fake of AWS KMS of package kmstest as a process, for tests in other
// languages than Go. It prints one line of JSON with its endpoint and the ARN of a key, and
// ends when its standard input does. GET /calls answers with the operations that were
// asked for, in order. The access key "mallory" may use no key; any other may use all.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kmsserve:", err)
		os.Exit(1)
	}
}

func serve(stdin io.Reader, stdout io.Writer) error {
	srv := kmstest.NewServer()
	srv.SetIAM("arn:aws:iam::" + kmstest.Account + ":user/mallory")
	made, err := srv.Client("us-east-1", "admin").CreateKey(context.Background(), &kms.CreateKeyInput{})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /", srv)
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		operations := []string{}
		for _, call := range srv.Calls() {
			operations = append(operations, call.Operation)
		}
		json.NewEncoder(w).Encode(operations)
	})
	go func() {
		io.Copy(io.Discard, stdin)
		ln.Close()
	}()
	if err := json.NewEncoder(stdout).Encode(map[string]string{"endpoint": "http://" + ln.Addr().String(), "key": *made.KeyMetadata.Arn}); err != nil {
		return err
	}
	http.Serve(ln, mux) // until the listener is closed
	return nil
}
