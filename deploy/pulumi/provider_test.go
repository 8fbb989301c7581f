package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// A cloud is an AWS that remembers what it is told, behind the protocol of Pulumi's
// provider aws. The engine attaches to it, as it does to a provider in a debugger.
type cloud struct {
	pulumirpc.UnimplementedResourceProviderServer
	port int

	mu sync.Mutex
	// there is what there is: inputs by type and ID.
	there map[string]resource.PropertyMap
	// calls are the changes since the last look.
	calls []string
	// full is whether the bucket has objects.
	full bool
}

// newCloud serves until the test ends.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{port: l.Addr().(*net.TCPAddr).Port, there: map[string]resource.PropertyMap{}}
	server := grpc.NewServer()
	pulumirpc.RegisterResourceProviderServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// short is a type without what Pulumi puts around it, such as "s3/bucket".
func short(token string) string {
	return strings.Split(token, ":")[1]
}

// changes gives the calls since the last look, sorted: Pulumi makes them in parallel.
func (c *cloud) changes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	slices.Sort(calls)
	return calls
}

// kinds are the types of what there is.
func (c *cloud) kinds() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kinds []string
	for name := range c.there {
		kind, _, _ := strings.Cut(name, " ")
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

func properties(s *structpb.Struct) resource.PropertyMap {
	m, err := plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true})
	if err != nil {
		panic(err)
	}
	return m
}

func message(m resource.PropertyMap) *structpb.Struct {
	s, err := plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true})
	if err != nil {
		panic(err)
	}
	return s
}

func (c *cloud) Attach(context.Context, *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (c *cloud) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: provider}, nil
}

func (c *cloud) CheckConfig(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: r.News}, nil
}

func (c *cloud) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
}

func (c *cloud) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{}, nil
}

func (c *cloud) Invoke(_ context.Context, r *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	out, err := answer(r.Tok, admin)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.InvokeResponse{Return: message(out)}, nil
}

func (c *cloud) Check(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: r.News}, nil
}

// Diff says which inputs differ. What names a thing in AWS cannot be changed.
func (c *cloud) Diff(_ context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	out := &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}
	old, next := properties(r.OldInputs), properties(r.News)
	for _, key := range slices.Sorted(maps.Keys(keysOf(old, next))) {
		if old[key].DeepEquals(next[key]) {
			continue
		}
		out.Changes = pulumirpc.DiffResponse_DIFF_SOME
		out.Diffs = append(out.Diffs, string(key))
		if key == "bucket" || key == "name" || key == "role" {
			out.Replaces = append(out.Replaces, string(key))
		}
	}
	return out, nil
}

func keysOf(maps ...resource.PropertyMap) map[resource.PropertyKey]bool {
	all := map[resource.PropertyKey]bool{}
	for _, m := range maps {
		for k := range m {
			all[k] = true
		}
	}
	return all
}

func (c *cloud) Create(_ context.Context, r *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := properties(r.Properties)
	token := string(urn.URN(r.Urn).Type())
	id, out := made(token, in)
	name := short(token) + " " + id
	if _, ok := c.there[name]; ok {
		return nil, fmt.Errorf("%s is there already", name)
	}
	c.there[name] = in
	c.calls = append(c.calls, "create "+name)
	return &pulumirpc.CreateResponse{Id: id, Properties: message(out)}, nil
}

func (c *cloud) Read(_ context.Context, r *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := string(urn.URN(r.Urn).Type())
	in, ok := c.there[short(token)+" "+r.Id]
	if !ok {
		return &pulumirpc.ReadResponse{}, nil
	}
	_, out := made(token, in)
	return &pulumirpc.ReadResponse{Id: r.Id, Properties: message(out), Inputs: message(in)}, nil
}

func (c *cloud) Update(_ context.Context, r *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := properties(r.News)
	token := string(urn.URN(r.Urn).Type())
	_, out := made(token, in)
	c.there[short(token)+" "+r.Id] = in
	c.calls = append(c.calls, "update "+short(token)+" "+r.Id)
	return &pulumirpc.UpdateResponse{Properties: message(out)}, nil
}

func (c *cloud) Delete(_ context.Context, r *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := short(string(urn.URN(r.Urn).Type())) + " " + r.Id
	if strings.HasPrefix(name, "s3/bucket ") && c.full {
		return nil, errors.New("BucketNotEmpty: the bucket you tried to delete is not empty")
	}
	delete(c.there, name)
	c.calls = append(c.calls, "delete "+name)
	return &emptypb.Empty{}, nil
}
