package view

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kept is a file of CPU clocks that outlives the process, so that no counter
// falls when another daemon goes on. It is mapped: to keep a clock is a copy in
// memory, and is done before its figures are shown. It belongs on a tmpfs such
// as /run, since clocks mean nothing after the next boot.
//
// The file is a head of a page, then records of equal size. A record has two
// copies of a clock, of which one counts: a process that is killed while it
// writes the other leaves that one whole.
type Kept struct {
	file   *os.File
	mem    []byte
	head   keptHead
	now    func() time.Duration
	mu     sync.Mutex
	owned  map[int]bool // records of this process's views
	byKey  map[keptKey]int
	filled int // records with room in the file
}

const (
	keptVersion = 2
	keptRecords = 4096 // more than a node has containers; beyond it clocks begin anew with the process
	keptPage    = 4096
)

// keptHead begins the file. Another head is another layout.
type keptHead struct {
	magic               [8]byte
	version, cpus       uint32
	sizeFigures, sizeOf uint32
	boot                [36]byte // boot_id of random(4)
}

type keptKey [16]byte

// keptRecord is followed by its two copies.
type keptRecord struct {
	key    keptKey
	saved  uint64 // ns since boot, 0 for an empty record
	active atomic.Uint32
	_      uint32
}

// keptClock is a view's record.
type keptClock struct {
	of     *Kept
	number int
}

// OpenKept maps the file, made where it does not exist. One of another version,
// another boot or a machine with other CPUs is begun anew.
func OpenKept(name string, host *Host) (*Kept, error) {
	cpus, err := host.possible.get(host.now())
	if err != nil {
		return nil, fmt.Errorf("keep CPU clocks: possible CPUs: %w", err)
	}
	boot, err := os.ReadFile(filepath.Join(host.root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return nil, fmt.Errorf("keep CPU clocks: %w", err)
	}
	k := &Kept{owned: map[int]bool{}, byKey: map[keptKey]int{}, now: host.now}
	k.head = keptHead{
		magic: [8]byte([]byte("lxcfsnri")), version: keptVersion, cpus: uint32(cpus[len(cpus)-1] + 1),
		sizeFigures: uint32(unsafe.Sizeof(clockFigures{})), sizeOf: uint32(unsafe.Sizeof(cpuState{})),
	}
	copy(k.head.boot[:], boot)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep CPU clocks: %w", err)
	}
	k.file = f
	if err := k.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep CPU clocks in %s: %w", name, err)
	}
	return k, nil
}

func (k *Kept) open() error {
	st, err := k.file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is not a regular file: remove it")
	}
	size := keptPage + int64(keptRecords)*k.stride()
	head := unsafe.Slice((*byte)(unsafe.Pointer(&k.head)), unsafe.Sizeof(k.head))
	found := make([]byte, len(head))
	if _, err := k.file.ReadAt(found, 0); err != nil || string(found) != string(head) || st.Size() != size {
		if err := k.file.Truncate(0); err != nil {
			return err
		}
		if err := k.file.Truncate(size); err != nil {
			return err
		}
		if _, err := k.file.WriteAt(head, 0); err != nil {
			return err
		}
	}
	k.mem, err = unix.Mmap(int(k.file.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	return k.index()
}

// index finds the records in use. A hole in the file ends the search for them:
// records get their room in order, and reading a hole would give it room.
func (k *Kept) index() error {
	for ; k.filled < keptRecords; k.filled++ {
		at := keptPage + int64(k.filled)*k.stride()
		data, err := unix.Seek(int(k.file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= at+k.stride() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for records: %w", err)
		}
		if r := k.record(k.filled); r.saved != 0 {
			k.byKey[r.key] = k.filled
		}
	}
	return nil
}

func (k *Kept) copySize() int64 {
	return int64(k.head.sizeFigures) + int64(k.head.cpus)*int64(k.head.sizeOf)
}

func (k *Kept) stride() int64 {
	// Whole pages, so that room for one record is nobody else's.
	n := int64(unsafe.Sizeof(keptRecord{})) + 2*k.copySize()
	return (n + keptPage - 1) / keptPage * keptPage
}

func (k *Kept) record(n int) *keptRecord {
	return (*keptRecord)(unsafe.Pointer(&k.mem[keptPage+int64(n)*k.stride()]))
}

// half gives one of a record's copies.
func (k *Kept) half(n int, which uint32) (*clockFigures, []cpuState) {
	at := keptPage + int64(n)*k.stride() + int64(unsafe.Sizeof(keptRecord{})) + int64(which&1)*k.copySize()
	figures := (*clockFigures)(unsafe.Pointer(&k.mem[at]))
	return figures, unsafe.Slice((*cpuState)(unsafe.Pointer(&k.mem[at+int64(k.head.sizeFigures)])), k.head.cpus)
}

// take gives the record of a clock, its own of an earlier process or a new
// one; nil where there is no room.
func (k *Kept) take(identity string) *keptClock {
	if k == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(identity))
	key := keptKey(hash[:16])
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.byKey[key]
	if !ok {
		if n = k.freeLocked(); n < 0 {
			return nil
		}
		r := k.record(n)
		delete(k.byKey, r.key)
		r.saved, r.key = 0, key
		k.byKey[key] = n
	}
	if k.owned[n] {
		return nil // two views of one clock: the second lives with the process
	}
	k.owned[n] = true
	return &keptClock{of: k, number: n}
}

// freeLocked finds room: a record that is empty, a new one, or the one that has
// been without a view for the longest time.
func (k *Kept) freeLocked() int {
	oldest := -1
	for n := range k.filled {
		if k.owned[n] {
			continue
		}
		saved := k.record(n).saved
		if saved == 0 {
			return n
		}
		if oldest < 0 || saved < k.record(oldest).saved {
			oldest = n
		}
	}
	if k.filled == keptRecords {
		return oldest
	}
	// Room is asked for now: to write into a hole of a full tmpfs is SIGBUS.
	if err := unix.Fallocate(int(k.file.Fd()), 0, keptPage+int64(k.filled)*k.stride(), k.stride()); err != nil {
		return oldest
	}
	k.filled++
	return k.filled - 1
}

// load takes over what was kept.
func (c *keptClock) load(figures *clockFigures) (cpus []cpuState, ok bool) {
	r := c.of.record(c.number)
	kept, all := c.of.half(c.number, r.active.Load())
	if r.saved == 0 || kept.live == 0 || kept.live > uint64(len(all)) || kept.at > c.of.now() {
		return nil, false // nothing, or not what this program writes
	}
	cpus = append(cpus, all[:kept.live]...)
	for i := range cpus[1:] {
		if cpus[i].cpu >= cpus[i+1].cpu {
			return nil, false
		}
	}
	*figures = *kept
	return cpus, true
}

// save keeps a clock.
func (c *keptClock) save(figures *clockFigures, cpus []cpuState) {
	r := c.of.record(c.number)
	next := (r.active.Load() + 1) & 1
	kept, all := c.of.half(c.number, next)
	if len(cpus) > len(all) {
		return // more CPUs than the machine can have
	}
	*kept = *figures
	kept.live = uint64(len(cpus))
	copy(all, cpus)
	r.active.Store(next)
	r.saved = max(1, uint64(c.of.now()))
}

// release gives the record back: for a successor, or, where the clock's group
// is gone, for any other clock.
func (c *keptClock) release(gone bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	delete(c.of.owned, c.number)
	if gone {
		r := c.of.record(c.number)
		delete(c.of.byKey, r.key)
		r.saved = 0
	}
}

// Close unmaps the file. No view may use it any more.
func (k *Kept) Close() error {
	return errors.Join(unix.Munmap(k.mem), k.file.Close())
}
