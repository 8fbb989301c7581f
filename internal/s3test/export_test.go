package s3test

import (
	"fmt"
	"net"
	"net/url"
	"time"
)

// Gone waits until nothing listens at the endpoint.
func Gone(endpoint string, wait time.Duration) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			return nil
		}
		c.Close()
	}
	return fmt.Errorf("after %v something still listens at %s", wait, endpoint)
}
