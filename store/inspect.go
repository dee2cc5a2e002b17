package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"
)

// inspectFile walks the database by hand before bbolt maps it. bbolt trusts
// its file: a page that lies outside it is a fault no recover catches, an empty
// file is taken for a new database, and one bad meta page silently rolls the
// database back a commit. Errors wrap ErrLocked or ErrDamaged.
func inspectFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer f.Close()
	// Shared: nobody writes while we read. bbolt takes its own lock after us.
	if err := lock(f, path, syscall.LOCK_SH); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("inspect database: %w", err)
	}
	if err := inspect(f, info.Size()); err != nil {
		return damaged(err)
	}
	return nil
}

// The file format of bbolt, version 2, native byte order.
const (
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	leafBucket   = 0x01

	noFreelist = ^uint64(0)
	maxDepth   = 64
)

var order = binary.NativeEndian

type metaPage struct {
	pageSize, root, freelist, high, txid uint64
}

func readMeta(r io.ReaderAt, off int64) (m metaPage, err error) {
	b := make([]byte, metaSize)
	if _, err := r.ReadAt(b, off+pageHeader); err != nil {
		return m, fmt.Errorf("meta page at byte %d: the file ends before it", off)
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[56:]) != sum.Sum64() {
		return m, fmt.Errorf("meta page at byte %d is not valid", off)
	}
	return metaPage{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), high: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}, nil
}

// inspect checks both meta pages, the size, and that every page of the tree
// lies in the file and every element in its page.
func inspect(r io.ReaderAt, size int64) error {
	if size == 0 {
		return errors.New("the file is empty")
	}
	first, err := readMeta(r, 0)
	if err != nil {
		return err
	}
	if ps := first.pageSize; ps < 1024 || ps > 1<<16 || ps&(ps-1) != 0 {
		return fmt.Errorf("page size %d is not valid", ps)
	}
	second, err := readMeta(r, int64(first.pageSize))
	if err != nil {
		return err
	}
	newer, older := first, second
	if second.txid > first.txid {
		newer, older = second, first
	}
	// Each commit writes the meta page that the one before did not. Only the
	// first after a backup may find the latest page where it has to write.
	if lead := newer.txid - older.txid; newer.pageSize != older.pageSize || lead != 1 && lead != 2 {
		return errors.New("the two meta pages don't belong together")
	}
	if have := uint64(size) / newer.pageSize; have < newer.high {
		return fmt.Errorf("has %d of %d pages: it was truncated", have, newer.high)
	}
	w := walker{file: r, size: newer.pageSize, high: newer.high, seen: map[uint64]bool{0: true, 1: true}}
	if newer.freelist != noFreelist {
		if err := w.freelist(newer.freelist); err != nil {
			return err
		}
	}
	return w.page(newer.root, 0)
}

// walker visits pages through reads, never through a mapping.
type walker struct {
	file io.ReaderAt
	size uint64
	high uint64
	seen map[uint64]bool
}

// read returns a page with its overflow, and its flags and count.
func (w *walker) read(id uint64) (page []byte, flags, count uint16, err error) {
	if id < 2 || id >= w.high {
		return nil, 0, 0, fmt.Errorf("page %d lies outside the file", id)
	}
	head := make([]byte, pageHeader)
	if _, err := w.file.ReadAt(head, int64(id*w.size)); err != nil {
		return nil, 0, 0, fmt.Errorf("page %d: %w", id, err)
	}
	pages := 1 + uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || pages > w.high-id {
		return nil, 0, 0, fmt.Errorf("page %d has a wrong header", id)
	}
	for i := id; i < id+pages; i++ {
		if w.seen[i] {
			return nil, 0, 0, fmt.Errorf("page %d is used twice", i)
		}
		w.seen[i] = true
	}
	page = make([]byte, pages*w.size)
	if _, err := w.file.ReadAt(page, int64(id*w.size)); err != nil {
		return nil, 0, 0, fmt.Errorf("page %d: %w", id, err)
	}
	return page, order.Uint16(head[8:]), order.Uint16(head[10:]), nil
}

func (w *walker) freelist(id uint64) error {
	page, flags, count, err := w.read(id)
	if err != nil {
		return err
	}
	n, ids := uint64(count), page[pageHeader:]
	if count == 0xFFFF { // the real count is the first entry
		n, ids = order.Uint64(ids), ids[8:]
	}
	if flags != flagFreelist || n > uint64(len(ids))/8 {
		return fmt.Errorf("page %d is not a free list", id)
	}
	for i := range n {
		if free := order.Uint64(ids[i*8:]); free < 2 || free >= w.high {
			return fmt.Errorf("free list names page %d, outside the file", free)
		}
	}
	return nil
}

func (w *walker) page(id uint64, depth int) error {
	if depth > maxDepth {
		return errors.New("the tree is too deep")
	}
	page, flags, count, err := w.read(id)
	if err != nil {
		return err
	}
	return w.elements(id, page, flags, count, depth)
}

// elements checks the elements of a page, which may be inline in a value.
func (w *walker) elements(id uint64, page []byte, flags, count uint16, depth int) error {
	if flags != flagBranch && flags != flagLeaf || flags == flagBranch && count == 0 {
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
	if pageHeader+int(count)*elementSize > len(page) {
		return fmt.Errorf("page %d is too short for its elements", id)
	}
	for i := range int(count) {
		at := pageHeader + i*elementSize
		e := page[at : at+elementSize]
		if flags == flagBranch {
			if uint64(at)+uint64(order.Uint32(e))+uint64(order.Uint32(e[4:])) > uint64(len(page)) {
				return fmt.Errorf("page %d: element %d leaves its page", id, i)
			}
			if err := w.page(order.Uint64(e[8:]), depth+1); err != nil {
				return err
			}
			continue
		}
		key := uint64(at) + uint64(order.Uint32(e[4:]))
		value := key + uint64(order.Uint32(e[8:]))
		end := value + uint64(order.Uint32(e[12:]))
		if end > uint64(len(page)) {
			return fmt.Errorf("page %d: element %d leaves its page", id, i)
		}
		if order.Uint32(e)&leafBucket != 0 {
			if err := w.bucket(id, page[value:end], depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket follows a bucket entry: root page, sequence, and the page itself when
// it is inline.
func (w *walker) bucket(id uint64, value []byte, depth int) error {
	if len(value) < 16 {
		return fmt.Errorf("page %d: a bucket entry is too short", id)
	}
	if root := order.Uint64(value); root != 0 {
		return w.page(root, depth+1)
	}
	inline := value[16:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("page %d: an inline bucket is not valid", id)
	}
	return w.elements(id, inline, flagLeaf, order.Uint16(inline[10:]), depth+1)
}
