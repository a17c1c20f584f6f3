package config

import (
	"slices"
	"strings"
)

// NoSocket as NRI.Socket says that no runtime is to be connected.
const NoSocket = "none"

// The values of Stat.Throttled.
const (
	// ThrottledSteal shows the time a container was held back by its CPU
	// quota as stolen: the time it would have run, had it been let.
	ThrottledSteal = "steal"
	// ThrottledHide shows that time as idle.
	ThrottledHide = "hide"
)

// The values of SELinuxContext that are no context.
const (
	// SELinuxAuto is the context that containers may read, where SELinux is on.
	SELinuxAuto = "auto"
	// SELinuxNone leaves the choice to the policy of the host.
	SELinuxNone = "none"
)

// Config is everything that can be set. Its zero value is of no use; start
// from Default.
type Config struct {
	// Mountpoint is where the file system is mounted.
	Mountpoint string
	// RunDir holds the control socket and what the next process needs to know.
	RunDir string
	// SELinuxContext is that of every file served: a context, SELinuxAuto or
	// SELinuxNone.
	SELinuxContext string
	// NRI says how to reach the container runtime.
	NRI NRI
	// Log says what is logged, and how.
	Log Log
	// Swap says whether a container sees swap; without it, none is shown.
	Swap bool
	// Stat shapes /proc/stat.
	Stat Stat
	// AttachExisting says whether containers that run already get the files,
	// too: where the policy takes them, and nobody has detached them.
	AttachExisting bool
	// Required has a container fail that can't have its files, rather than start
	// with the host's; not those that the policy leaves alone. In the file it is a
	// line of its own, "required: true": the OCI hook looks for no more.
	Required bool
	// Files says which files are served.
	Files Files
	// Policy says which containers get them.
	Policy Policy
}

// NRI is the connection to a container runtime's Node Resource Interface.
type NRI struct {
	// Socket is the runtime's socket, or NoSocket.
	Socket string
	// PluginName is the name the runtime logs us by.
	PluginName string
	// PluginIndex is two digits: plugins are called in this order.
	PluginIndex string
}

// Log is how the daemon logs.
type Log struct {
	// Level is debug, info, warn or error: the least that is logged.
	Level string
	// Format is text or json.
	Format string
}

// Stat shapes /proc/stat.
type Stat struct {
	// Throttled is ThrottledSteal or ThrottledHide.
	Throttled string
}

// Files says which of the files that can be served are. Entries are paths
// below a container's root, such as proc/meminfo.
type Files struct {
	// Include lists what is served; empty means everything.
	Include []string
	// Exclude lists what is not, and wins over Include.
	Exclude []string
}

// Serves reports whether path is served; a leading slash makes no difference.
func (f *Files) Serves(path string) bool {
	path = strings.TrimPrefix(path, "/")
	if slices.Contains(f.Exclude, path) {
		return false
	}
	return len(f.Include) == 0 || slices.Contains(f.Include, path)
}

// Default is the configuration without a file: complete, and valid.
func Default() Config {
	return Config{
		Mountpoint:     "/var/lib/lxcfs-nri",
		RunDir:         "/run/lxcfs-nri",
		SELinuxContext: SELinuxAuto,
		NRI: NRI{
			Socket:      "/var/run/nri/nri.sock",
			PluginName:  "lxcfs-nri",
			PluginIndex: "50",
		},
		Log:  Log{Level: "info", Format: "text"},
		Swap: true,
		Stat: Stat{Throttled: ThrottledSteal},
		Policy: Policy{
			Inject:              true,
			Namespaces:          Namespaces{Exclude: []string{"kube-system"}},
			SkipRuntimeHandlers: []string{"kata*", "gvisor*", "runsc*"},
			SkipHostPID:         true,
			WebhookAnnotations:  true,
		},
	}
}
