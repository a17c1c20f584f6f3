package cgroup

// memoryLevel is the memory controller's files of one level.
// v2: cgroup-v2.rst, "Memory Interface Files"; v1: cgroup-v1/memory.rst.
type memoryLevel struct {
	path       string
	v2         bool
	limit      *file // memory.max, memory.limit_in_bytes
	usage      *file // memory.current, memory.usage_in_bytes
	stat       *file // memory.stat
	swapLimit  *file // memory.swap.max; v1 memory.memsw.limit_in_bytes (memory and swap together)
	swapUsage  *file // v2 only: memory.swap.current
	swappiness *file // v1 only
}

func newMemoryLevel(p place) memoryLevel {
	if p.h.v2 {
		return memoryLevel{
			path: p.path, v2: true,
			limit: p.file("memory.max"), usage: p.file("memory.current"), stat: p.file("memory.stat"),
			swapLimit: p.file("memory.swap.max"), swapUsage: p.file("memory.swap.current"),
		}
	}
	return memoryLevel{
		path:  p.path,
		limit: p.file("memory.limit_in_bytes"), usage: p.file("memory.usage_in_bytes"), stat: p.file("memory.stat"),
		swapLimit: p.file("memory.memsw.limit_in_bytes"), swappiness: p.file("memory.swappiness"),
	}
}

// MemoryLevels is the number of levels of the memory controller, 0 where it is
// not to be had. Level 0 is the group itself.
func (g *Group) MemoryLevels() int { return len(g.memory) }

// MemoryPath names a level.
func (g *Group) MemoryPath(level int) string { return g.memory[level].path }

// MemoryLimit returns a level's limit in bytes, NoLimit if it has none or an error.
// The error is os.ErrNotExist for a v2 group that is threaded, or whose parent does
// not delegate the controller.
func (g *Group) MemoryLimit(level int) (uint64, error) { return g.memory[level].limit.readLimit(0) }

// MemoryUsage is a level's use in bytes, its descendants' included.
func (g *Group) MemoryUsage(level int) (uint64, error) { return g.memory[level].usage.readUint() }

// MemoryStat reads a level's memory.stat, its descendants included, into st.
func (g *Group) MemoryStat(level int, st *MemoryStat) error {
	*st = MemoryStat{}
	l := &g.memory[level]
	keys := memoryStatV1
	if l.v2 {
		keys = memoryStatV2
	}
	return l.stat.with(func(b []byte) error { parseKeyed(b, st, keys); return nil })
}

// MemoryStat is what memory.stat tells of a level; all in bytes. A key that
// this kernel lacks is 0.
type MemoryStat struct {
	Anon, File, Shmem                      uint64
	Mapped, Dirty, Writeback               uint64
	ActiveAnon, InactiveAnon               uint64
	ActiveFile, InactiveFile, Unevictable  uint64
	SlabReclaimable, SlabUnreclaimable     uint64
	KernelStack, PageTables, SecPageTables uint64
	Percpu, Vmalloc                        uint64
	Zswap, Zswapped, SwapCached            uint64
	AnonHuge, FileHuge, ShmemHuge          uint64
	Swap                                   uint64 // v1; v2 has SwapUsage
}

var memoryStatV2 = map[string]func(*MemoryStat) *uint64{
	"anon":               func(m *MemoryStat) *uint64 { return &m.Anon },
	"file":               func(m *MemoryStat) *uint64 { return &m.File },
	"shmem":              func(m *MemoryStat) *uint64 { return &m.Shmem },
	"file_mapped":        func(m *MemoryStat) *uint64 { return &m.Mapped },
	"file_dirty":         func(m *MemoryStat) *uint64 { return &m.Dirty },
	"file_writeback":     func(m *MemoryStat) *uint64 { return &m.Writeback },
	"active_anon":        func(m *MemoryStat) *uint64 { return &m.ActiveAnon },
	"inactive_anon":      func(m *MemoryStat) *uint64 { return &m.InactiveAnon },
	"active_file":        func(m *MemoryStat) *uint64 { return &m.ActiveFile },
	"inactive_file":      func(m *MemoryStat) *uint64 { return &m.InactiveFile },
	"unevictable":        func(m *MemoryStat) *uint64 { return &m.Unevictable },
	"slab_reclaimable":   func(m *MemoryStat) *uint64 { return &m.SlabReclaimable },
	"slab_unreclaimable": func(m *MemoryStat) *uint64 { return &m.SlabUnreclaimable },
	"kernel_stack":       func(m *MemoryStat) *uint64 { return &m.KernelStack },
	"pagetables":         func(m *MemoryStat) *uint64 { return &m.PageTables },
	"sec_pagetables":     func(m *MemoryStat) *uint64 { return &m.SecPageTables },
	"percpu":             func(m *MemoryStat) *uint64 { return &m.Percpu },
	"vmalloc":            func(m *MemoryStat) *uint64 { return &m.Vmalloc },
	"zswap":              func(m *MemoryStat) *uint64 { return &m.Zswap },
	"zswapped":           func(m *MemoryStat) *uint64 { return &m.Zswapped },
	"swapcached":         func(m *MemoryStat) *uint64 { return &m.SwapCached },
	"anon_thp":           func(m *MemoryStat) *uint64 { return &m.AnonHuge },
	"file_thp":           func(m *MemoryStat) *uint64 { return &m.FileHuge },
	"shmem_thp":          func(m *MemoryStat) *uint64 { return &m.ShmemHuge },
}

// memoryStatV1 takes the keys that count descendants. v1 counts no kernel memory here.
var memoryStatV1 = map[string]func(*MemoryStat) *uint64{
	"total_rss":           func(m *MemoryStat) *uint64 { return &m.Anon },
	"total_cache":         func(m *MemoryStat) *uint64 { return &m.File },
	"total_shmem":         func(m *MemoryStat) *uint64 { return &m.Shmem },
	"total_mapped_file":   func(m *MemoryStat) *uint64 { return &m.Mapped },
	"total_dirty":         func(m *MemoryStat) *uint64 { return &m.Dirty },
	"total_writeback":     func(m *MemoryStat) *uint64 { return &m.Writeback },
	"total_active_anon":   func(m *MemoryStat) *uint64 { return &m.ActiveAnon },
	"total_inactive_anon": func(m *MemoryStat) *uint64 { return &m.InactiveAnon },
	"total_active_file":   func(m *MemoryStat) *uint64 { return &m.ActiveFile },
	"total_inactive_file": func(m *MemoryStat) *uint64 { return &m.InactiveFile },
	"total_unevictable":   func(m *MemoryStat) *uint64 { return &m.Unevictable },
	"total_swapcached":    func(m *MemoryStat) *uint64 { return &m.SwapCached },
	"total_rss_huge":      func(m *MemoryStat) *uint64 { return &m.AnonHuge },
	"total_swap":          func(m *MemoryStat) *uint64 { return &m.Swap },
}

// MemoryV2 says which rules the swap figures follow.
func (g *Group) MemoryV2() bool { return len(g.memory) > 0 && g.memory[0].v2 }

// SwapLimit returns a level's limit in bytes, NoLimit if it has none or an error:
// of swap on v2, of memory and swap together on v1. The error is os.ErrNotExist if
// the kernel does not account for swap.
func (g *Group) SwapLimit(level int) (uint64, error) { return g.memory[level].swapLimit.readLimit(0) }

// SwapUsage returns a level's use of swap in bytes (v2; v1 has it in memory.stat).
func (g *Group) SwapUsage(level int) (uint64, error) { return g.memory[level].swapUsage.readUint() }

// Swappiness returns v1's memory.swappiness of a level, 0 to 200; NoLimit if it has none
// or an error.
func (g *Group) Swappiness(level int) (uint64, error) { return g.memory[level].swappiness.readLimit(0) }
