// Asks with Go's net/http, many workers in one process, connections kept as it keeps them, no retries but its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func outcome(client *http.Client) string {
	response, err := client.Get("http://agent/v1/license")
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case err != nil:
		return "failed"
	}
	defer response.Body.Close()
	if _, err = io.Copy(io.Discard, response.Body); err != nil {
		return "cut short"
	}
	return strconv.Itoa(response.StatusCode)
}

func main() {
	if len(os.Args) < 6 {
		fmt.Println(runtime.Version())
		return
	}
	seconds, _ := strconv.ParseFloat(os.Args[3], 64)
	workers, _ := strconv.Atoi(os.Args[5])
	transport := &http.Transport{MaxIdleConnsPerHost: workers,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", os.Args[1])
		}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	outcomes, latencies := map[string]int{}, []float64{}
	var lock sync.Mutex
	var group sync.WaitGroup
	if err := os.WriteFile(os.Args[4]+".ready", nil, 0o600); err != nil {
		panic(err)
	}
	for _, err := os.Stat(os.Args[2]); err != nil; _, err = os.Stat(os.Args[2]) {
		time.Sleep(2 * time.Millisecond)
	}
	end := time.Now().Add(time.Duration(seconds * 1e9))
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for begun := time.Now(); begun.Before(end); begun = time.Now() {
				found := outcome(client)
				took := time.Since(begun).Seconds()
				lock.Lock()
				outcomes[found]++
				latencies = append(latencies, took)
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	text, _ := json.Marshal([]any{outcomes, latencies})
	if err := os.WriteFile(os.Args[4], text, 0o600); err != nil {
		panic(err)
	}
}
