package rig

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cri is the interface that the kubelet talks to containerd by.
type cri struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

func dialCRI(socket string) (*cri, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", socket, err)
	}
	return &cri{conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}, nil
}

func (c *cri) close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close the connection to containerd: %w", err)
	}
	return nil
}

// ready is nil once pods can be run; that there is no network is as it should
// be.
func (c *cri) ready(ctx context.Context) error {
	// After a refused connection gRPC waits longer each time.
	c.conn.ResetConnectBackoff()
	s, err := c.runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask for the runtime's status: %w", err)
	}
	for _, cond := range s.GetStatus().GetConditions() {
		if cond.GetType() == runtimeapi.RuntimeReady && !cond.GetStatus() {
			return fmt.Errorf("runtime not ready: %s: %s", cond.GetReason(), cond.GetMessage())
		}
	}
	return nil
}

// hasImage is nil once the CRI knows an image.
func (c *cri) hasImage(ctx context.Context, name string) error {
	s, err := c.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
	if err != nil {
		return fmt.Errorf("ask for the image %s: %w", name, err)
	}
	if s.GetImage() == nil {
		return errors.New("the CRI does not know the image " + name)
	}
	return nil
}
