package cgroup

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// limit is what a parser returned: a figure, and whether it could be parsed.
type limit struct {
	N  uint64
	OK bool
}

func TestOddLimits(t *testing.T) {
	fixture.Odd(t, func(b []byte) limit { n, err := parseLimit(b, 0); return limit{n, err == nil} }, map[string]limit{
		"268435456\n":               {256 << 20, true},
		"268435456":                 {256 << 20, true},
		" 268435456 \r\n":           {256 << 20, true},
		"0\n":                       {0, true},
		"max\n":                     {NoLimit, true},
		"9223372036854771712\n":     {NoLimit, true}, // v1, 4 KiB pages
		"9223372036854710272\n":     {NoLimit, true}, // v1, 64 KiB pages
		"9223372036854775807\n":     {NoLimit, true}, // before page counters, Linux 3.18
		"18446744073709551615\n":    {NoLimit, true},
		"99999999999999999999999\n": {NoLimit, true},
		"8796093018112\n":           {NoLimit, true},       // 32-bit, 4 KiB pages
		"140737488289792\n":         {NoLimit, true},       // 32-bit, 64 KiB pages
		"8796093022208\n":           {8796093022208, true}, // 8 TiB
		"-1\n":                      {NoLimit, true},
		"-4096\n":                   {NoLimit, true},
		"":                          {NoLimit, false},
		"\n":                        {NoLimit, false},
		"12 13\n":                   {NoLimit, false},
		"12kB\n":                    {NoLimit, false},
		"0x10\n":                    {NoLimit, false},
		"-\n":                       {NoLimit, false},
		"max max\n":                 {NoLimit, false},
		"\x00\n":                    {NoLimit, false},
	})
}

// TestHugetlbWithoutLimit: the kernel rounds its maximum down to the size of the
// huge pages (hugetlb_cgroup_init in mm/hugetlb_cgroup.c).
func TestHugetlbWithoutLimit(t *testing.T) {
	for _, pageSize := range []uint64{64 << 10, 1 << 20, 2 << 20, 4 << 20, 16 << 20, 32 << 20, 512 << 20, 1 << 30, 16 << 30} {
		for _, page := range []uint64{4 << 10, 16 << 10, 64 << 10} {
			if page > pageSize {
				continue
			}
			for name, pages := range map[string]uint64{"64-bit": math.MaxInt64 / page, "32-bit": math.MaxInt32} {
				maximum := (pages - pages%(pageSize/page)) * page
				if n, err := parseLimit(strconv.AppendUint(nil, maximum, 10), pageSize); n != NoLimit || err != nil {
					t.Errorf("%s, pages of %d and %d bytes: %d is taken for a limit of %d (%v)", name, page, pageSize, maximum, n, err)
				}
			}
		}
		for _, limit := range []uint64{0, pageSize, 1 << 40, 1<<43 - 16*pageSize - 4096} {
			if n, err := parseLimit(strconv.AppendUint(nil, limit, 10), pageSize); n != limit || err != nil {
				t.Errorf("pages of %d bytes: a limit of %d is taken for %d (%v)", pageSize, limit, n, err)
			}
		}
	}
	if n, err := parseLimit([]byte("9223372035781033984\n"), 1<<30); n != NoLimit || err != nil { // as a machine printed it
		t.Errorf("1 GiB pages: got %d, %v", n, err)
	}
}

func TestOddUse(t *testing.T) {
	fixture.Odd(t, func(b []byte) limit { n, err := parseUint(b); return limit{n, err == nil} }, map[string]limit{
		"4096\n":                 {4096, true},
		"-4096\n":                {0, true}, // a counter's race
		"-\n":                    {0, false},
		"--1\n":                  {0, true},
		"18446744073709551616\n": {math.MaxUint64, true},
		"":                       {0, false},
		"4096 kB\n":              {0, false},
		"1.5\n":                  {0, false},
	})
}

func TestOddCPUMax(t *testing.T) {
	type cpuMax struct {
		Quota, Period uint64
		OK            bool
	}
	fixture.Odd(t, func(b []byte) cpuMax { q, p, err := parseCPUMax(b); return cpuMax{q, p, err == nil} }, map[string]cpuMax{
		"max 100000\n":       {NoLimit, 0, true},
		"max\n":              {NoLimit, 0, true},
		"50000 100000\n":     {50000, 100000, true},
		"50000  100000\n":    {50000, 100000, true},
		"50000 100000 7\n":   {50000, 100000, true}, // what a later kernel may add
		"-1 100000\n":        {NoLimit, 0, true},
		"50000 0\n":          {50000, 0, true},
		"50000\n":            {50000, 0, false},
		"50000 x\n":          {50000, 0, false},
		"x 100000\n":         {NoLimit, 0, false},
		"":                   {NoLimit, 0, false},
		"\n50000 100000\n":   {50000, 100000, true},
		"50000\t100000\n":    {NoLimit, 0, false},
		"50000 100000\njunk": {50000, 0, false},
	})
}

func TestOddCPULists(t *testing.T) {
	type list struct {
		CPUs []int
		OK   bool
	}
	fixture.Odd(t, func(b []byte) list { cpus, err := ParseCPUs(b, nil); return list{cpus, err == nil} }, map[string]list{
		"0-3\n":         {[]int{0, 1, 2, 3}, true},
		"0,2-3,8\n":     {[]int{0, 2, 3, 8}, true},
		"5\n":           {[]int{5}, true},
		"":              {nil, true},
		"\n":            {nil, true},
		"0-1,x,3\n":     {[]int{0, 1, 3}, false},
		"0-1,\n":        {[]int{0, 1}, false},
		",1\n":          {[]int{1}, false},
		"3-1,5\n":       {[]int{5}, false},
		"1,1,2\n":       {[]int{1, 2}, false},
		"0-2,1-4\n":     {[]int{0, 1, 2, 3, 4}, false},
		"4-5,0-1,6\n":   {[]int{4, 5, 6}, false},
		"0-,1\n":        {[]int{1}, false},
		"0-99999999\n":  {nil, false},
		"0-7:2/4,8\n":   {[]int{8}, false}, // may be written, is never read
		"a\n":           {nil, false},
		",\n":           {nil, false},
		"0 1\n":         {nil, false},
		"0-1\n2-3\n":    {nil, false},
		"00000000,03\n": {[]int{0, 3}, true}, // a mask is no list, and can't be told from one
	})
}

func TestOddMemoryStat(t *testing.T) {
	fixture.Odd(t, func(b []byte) (st MemoryStat) { parseKeyed(b, &st, memoryStatV2); return st }, map[string]MemoryStat{
		"anon 4096\nfile 8192\nshmem 1\n":                    {Anon: 4096, File: 8192, Shmem: 1},
		"anon 4096\nsome_new_key 1 2 3\nlonely\n\nshmem 1\n": {Anon: 4096, Shmem: 1},
		"anon x\nfile 8192\n":                                {File: 8192},
		"anon\nfile 8192\n":                                  {File: 8192},
		"anon \nfile 8192\n":                                 {File: 8192},
		"anon 1 2\nfile 8192":                                {File: 8192},
		"anon -4096\nfile 8192\n":                            {File: 8192},
		"anon 99999999999999999999999\nfile 1\n":             {Anon: math.MaxUint64, File: 1},
		"\x00\x00\nfile 8192\n anon 5\n":                     {File: 8192},
		"":                                                   {},
		strings.Repeat("pagefault 7\n", 5000) + "slab_reclaimable 9": {SlabReclaimable: 9},
	})
	fixture.Odd(t, func(b []byte) (st MemoryStat) { parseKeyed(b, &st, memoryStatV1); return st }, map[string]MemoryStat{
		"cache 1\nrss 2\ntotal_cache 3\n\ntotal_rss x\ntotal_shmem 4\n": {File: 3, Shmem: 4},
	})
}

func TestOddCPUStat(t *testing.T) {
	fixture.Odd(t, parseCPUStat, map[string]CPUUsage{
		"usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 5\nthrottled_usec 7\n": {User: 15, System: 10, Nice: 5, Throttled: 7},
		"user_usec x\nsystem_usec 10\n\ncore_sched.force_idle_usec 3\njunk\n":          {System: 10},
		"user_usec 5\nnice_usec 20\n":                         {Nice: 5},
		"nr_periods 1\nnr_throttled 1\nthrottled_time 7000\n": {Throttled: 7, ThrottledPeriods: 1}, // v1
		"throttled_time\nthrottled_time  9000\n":              {Throttled: 9},
		"":                                                    {},
	})
}

func TestOddCPUAcct(t *testing.T) {
	fixture.Odd(t, func(b []byte) []CPUTime { return parseUsageAll(b, nil) }, map[string][]CPUTime{
		"cpu user system\n0 10803772056 9811340169\n1 1000 999\n": {{CPU: 0, User: 10803772, System: 9811340}, {CPU: 1, User: 1}},
		"cpu user system\n0 1000\n1 x 2000\nx 1 2\n\n2 3000 4000": {{CPU: 2, User: 3, System: 4}},
		"0 1000 2000\n99999999 1 2\n":                             {{CPU: 0, User: 1, System: 2}},
		"":                                                        {},
	})
	scaled := func(found ...CPUTime) func(b []byte) []CPUTime {
		return func(b []byte) []CPUTime {
			times := append([]CPUTime{}, found...)
			scaleUsage(b, times)
			return times
		}
	}
	fixture.Odd(t, scaled(CPUTime{User: 3000, System: 1000}, CPUTime{CPU: 1}, CPUTime{CPU: 2, System: 8}), map[string][]CPUTime{
		"8000000 0 9000\n":      {{User: 6000, System: 2000}, {CPU: 1}, {CPU: 2, System: 9}},
		"8000000 x 9000\n":      {{User: 6000, System: 2000}, {CPU: 1}, {CPU: 2, System: 9}},
		"8000000 5000\n":        {{User: 6000, System: 2000}, {CPU: 1, User: 5}, {CPU: 2, System: 8}}, // ends early
		"8000000 0 9000 7000 1": {{User: 6000, System: 2000}, {CPU: 1}, {CPU: 2, System: 9}},
		"":                      {{User: 3000, System: 1000}, {CPU: 1}, {CPU: 2, System: 8}},
	})
	// A line of the other file could not be parsed: that of CPU 1.
	fixture.Odd(t, scaled(CPUTime{User: 1}, CPUTime{CPU: 2, User: 1}), map[string][]CPUTime{
		"5000 6000 7000 ": {{User: 5}, {CPU: 2, User: 7}},
	})
	// CPUs may be numbered with gaps.
	fixture.Odd(t, scaled(CPUTime{User: 1}, CPUTime{CPU: 8, User: 1}), map[string][]CPUTime{
		"5000 7000 ": {{User: 5}, {CPU: 8, User: 7}},
	})
	fixture.Odd(t, scaled(CPUTime{User: 1 << 62, System: 1 << 62}), map[string][]CPUTime{
		"18446744073709551615": {{User: 9223372036854776, System: 9223372036854775}},
	})
}

func TestOddIOStat(t *testing.T) {
	loop, other, disk := IODevice{Major: 7, Minor: 1}, IODevice{Major: 7}, IODevice{Major: 254, ReadBytes: 5, Writes: 6}
	fixture.Odd(t, func(b []byte) []IODevice { return parseIOStat(b, nil) }, map[string][]IODevice{
		"8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=3 cost.usage=7\n8:16 \n": {
			{Major: 8, ReadBytes: 4096, WriteBytes: 8192, Reads: 1, Writes: 2, DiscardBytes: 512, Discards: 3},
			{Major: 8, Minor: 16},
		},
		"7:1 7:0 254:0 rbytes=5 wios=6\n":                                                          {loop, other, disk},
		"7:1 7:0 \n254:0 rbytes=5 wios=6\n":                                                        {loop, other, disk},
		"(unknown) rbytes=9\n254:0 rbytes=5 wios=6\n":                                              {disk},
		"7:1 (unknown) rbytes=9\n254:0 rbytes=5 wios=6 (unknown) wios=7":                           {loop, disk},
		"254:0 rbytes=x wios=6 rbytes=5\n\njunk\nrbytes=9\n":                                       {disk},
		"254:0 rbytes=5 wios=6\n7:1 254:0\n":                                                       {disk, loop},
		"x:y rbytes=1\n8 rbytes=1\n8:99999999 rbytes=1\n5000:1 rbytes=1\n:\n254:0 rbytes=5 wios=6": {disk},
		"254:0 =5 rbytes= rbytes=5 use_delay=0 wios=6 depth=max":                                   {disk},
		"": {},
	})
}

func TestOddBlkio(t *testing.T) {
	disk := IODevice{Major: 8, Reads: 1, Writes: 2, Discards: 4}
	fixture.Odd(t, func(b []byte) []IODevice { return parseBlkio(b, nil, 0, false) }, map[string][]IODevice{
		"8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Async 0\n8:0 Discard 4\n8:0 Total 7\nTotal 7\n": {disk},
		"(unknown) Read 5\n(unknown) Total 5\n8:0 Read 1\n8:0 Write 2\n8:0 Discard 4\n":           {disk},
		"7:1 7:0 8:0 Read 1\n8:0 Write 2\n\n8:0 Discard 4\n":                                      {disk},
		"8:0 Read x\n8:0 Read 1\n8:0\n8:0 Read\njunk of a line\n8:0 Write 2\n8:0 Discard 4":       {disk},
		"Total 0\n": {},
		"":          {},
	})
	devs := parseBlkio([]byte("8:0 Read 4096\n8:0 Write 8192\n8:0 Discard 512\n8:0 Total 12800\n"), []IODevice{{Major: 8, Reads: 9}, disk}, 1, true)
	want := IODevice{Major: 8, Reads: 1, Writes: 2, Discards: 4, ReadBytes: 4096, WriteBytes: 8192, DiscardBytes: 512}
	if len(devs) != 2 || devs[1] != want || devs[0] != (IODevice{Major: 8, Reads: 9}) {
		t.Errorf("bytes after requests: got %+v", devs)
	}
}

// TestOddPaths: /proc/<pid>/cgroup. Of groups there are "/gone (deleted)", "/a\nb"
// and "/a\nb\nc".
func TestOddPaths(t *testing.T) {
	exists := func(_, at string) bool { return at == "/is (deleted)" || at == "/a\nb" || at == "/a\nb\nc" }
	v1 := func(c, at string) Paths { return Paths{V1: map[string]string{c: at}} }
	v2 := func(at string) Paths { return Paths{Unified: at} }
	fixture.Odd(t, func(b []byte) Paths { return parsePaths(string(b), exists) }, map[string]Paths{
		"12:cpu,cpuacct:/a:b c\n1:name=systemd:/x\n0::/y\n": {Unified: "/y", V1: map[string]string{"cpu": "/a:b c", "cpuacct": "/a:b c", "name=systemd": "/x"}},
		"0::/y":                      v2("/y"),
		"0::/\n":                     v2("/"),
		"0::/y (deleted)\n":          v2("/y"),
		"0::/is (deleted)\n":         v2("/is (deleted)"),
		"0::/is (deleted) (deleted)": v2("/is (deleted)"),
		"4:memory:/y (deleted)\n":    v1("memory", "/y (deleted)"), // v1 notes nothing
		`0::/a\040b\134 c:d` + "\n":  v2(`/a\040b\134 c:d`),        // nothing is escaped
		"0::/a \n":                   v2("/a "),
		"0::/..a/...\n":              v2("/..a/..."),
		"\n0::/y\n\n":                v2("/y"),
		"nonsense\n0::/y\nmore\n":    v2("/y"),
		"4:memory:/a\nb\n0::/y\n":    {Unified: "/y", V1: map[string]string{"memory": "/a\nb"}},
		"4:memory:/a\nb\nc\n":        v1("memory", "/a\nb\nc"),
		"4:memory:/a\nz\n":           v1("memory", "/a"),
		// A group that is named so that it looks like another line.
		"4:memory:/a\n3:cpu:/victim\n3:cpu:/a\n": {V1: map[string]string{"memory": "/a", "cpu": ""}},
		"0::/a/../b\n0::a\n0::/a//b\n0::/a/\n":   {},
		"0::/a\x00b\nx::/a\n:memory:/a\n":        {},
		"0::/" + strings.Repeat("x", 5000):       {},
		"0::/../x\n":                             v2("/../x"),
		"0::/..\n":                               v2("/.."),
		"0::/../../x/y\n":                        v2("/../../x/y"),
		"0::/../x/../y\n":                        {},
		"":                                       {},
	})
}
