/* The kernel of a compiled forest: walks many rows through a tree in lockstep.

A step of a walk loads a node and a value and compares them, without a branch, because leaves have themselves as child.
LANES independent walks keep the processor busy while each of them waits for its loads. ONNX Runtime walks one row at a
time through all trees, and half of its branches are mispredicted.

Each row adds its leaves in the order of the trees and in the type of the leaves, as ONNX Runtime does with one thread,
so the sums have the same bits. A compiler must not reorder them: do not compile this with -ffast-math.

converters/forest/flatten.py says what the arrays hold, and why columns hold no NaN. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define HALF 8
/* The most that columns and sums of a chunk of rows take, so that they stay in the L1 and L2 caches. */
#define CHUNK_BYTES 65536
#define CHUNK_ROWS 256
/* All rows of a chunk walk one block of trees before the next, so that a block is read from memory once per chunk. */
#ifndef BLOCK_BYTES
#define BLOCK_BYTES 131072
#endif
/* In deeper trees most walks end early, so after every STEPS steps the kernel checks whether any has moved. */
#ifndef DEEP
#define DEEP 8
#endif
#define STEPS 4

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

/* Split: `value >= threshold` goes to left + 1, any other value to left; both relative to the tree's root.
   Leaf: left is the node itself, column is the last one, of NaN; threshold is the leaf's value or its vector's index. */
typedef struct { float threshold; uint16_t column; uint16_t left; } Narrow;
typedef struct { float threshold; uint32_t column; uint32_t left; } Wide;
typedef struct { double threshold; uint32_t column; uint32_t left; } Double;

typedef struct {
    uint32_t root;   /* index of the first node */
    uint32_t depth;  /* steps from the root to the deepest leaf */
    uint32_t target; /* the first target that a leaf adds to */
    uint32_t width;  /* the number of targets; more than 1 if leaves are vectors */
} Tree;

/* How a column is made from a feature: missing values become -inf (go left) or +inf (go right); in the last two kinds
   all other values become the opposite infinity. */
enum { MISSING_LEFT, MISSING_RIGHT, ONLY_MISSING_RIGHT, ONLY_MISSING_LEFT };

typedef struct {
    uint32_t feature;
    uint32_t kind;
} Column;

enum { NARROW, WIDE, DOUBLE };

/* The number of rows that walk in lockstep next, of those that are left. */
static inline size_t lanes_of(size_t left)
{
    return left >= LANES ? LANES : left >= HALF ? HALF : 1;
}

static const size_t NODE_BYTES[] = {sizeof(Narrow), sizeof(Wide), sizeof(Double)};

typedef struct {
    PyObject_HEAD
    int kind;
    size_t features; /* the least that a row must have; may be 1 more than a uint32_t holds */
    uint32_t targets, columns, trees;
    void *nodes;
    Tree *tree;
    Column *column;
    void *vectors;
} Forest;

#define REAL float
#define NODE Narrow
#define BITS uint32_t
#define NAME(x) narrow_##x
#include "walk.h"

#define REAL float
#define NODE Wide
#define BITS uint32_t
#define NAME(x) wide_##x
#include "walk.h"

#define REAL double
#define NODE Double
#define BITS uint64_t
#define NAME(x) real_##x
#include "walk.h"

static void *copied(const Py_buffer *from)
{
    void *made = malloc(from->len ? (size_t)from->len : 1);
    if (made != NULL)
        memcpy(made, from->buf, (size_t)from->len);
    return made;
}

/* What a node says, whatever its kind. */
typedef struct {
    size_t left, column, vector;
} Said;

static Said said_by(const Forest *self, size_t n)
{
    if (self->kind == DOUBLE) {
        const Double *node = (const Double *)self->nodes + n;
        uint64_t bits;
        memcpy(&bits, &node->threshold, sizeof bits);
        return (Said){node->left, node->column, (size_t)bits};
    }
    uint32_t bits;
    if (self->kind == WIDE) {
        const Wide *node = (const Wide *)self->nodes + n;
        memcpy(&bits, &node->threshold, sizeof bits);
        return (Said){node->left, node->column, bits};
    }
    const Narrow *node = (const Narrow *)self->nodes + n;
    memcpy(&bits, &node->threshold, sizeof bits);
    return (Said){node->left, node->column, bits};
}

/* Checks one tree of `size` nodes; `level` has room for them. Children come after their split, so one pass suffices. */
static const char *fault_of_tree(const Forest *self, const Tree *tree, size_t size, size_t vectors, uint32_t *level)
{
    if (tree->width < 1 || (size_t)tree->target + tree->width > self->targets)
        return "a tree adds to a target that does not exist";
    memset(level, 0, size * sizeof *level);
    for (size_t n = 0; n < size; n++) {
        const Said said = said_by(self, tree->root + n);
        if (level[n] > tree->depth)
            return "a tree is deeper than it says";
        if (said.left == n) {
            if (said.column + 1 != self->columns)
                return "a leaf does not compare with NaN";
            if (tree->width > 1 && (said.vector >= vectors || tree->width > vectors - said.vector))
                return "a leaf names a vector that does not exist";
            continue;
        }
        if (said.left < n || said.left + 1 >= size || said.column + 1 >= self->columns)
            return "a split leads out of its tree";
        for (size_t child = said.left; child <= said.left + 1; child++)
            level[child] = level[n] + 1 > level[child] ? level[n] + 1 : level[child];
    }
    return NULL;
}

/* The arrays come from a file, so this checks that every walk stays in its tree and ends at a leaf, whatever the rows
   are. Returns NULL if so; sets an exception if there is no memory. */
static const char *fault(const Forest *self, size_t nodes, size_t vectors)
{
    size_t largest = 0;
    for (uint32_t t = 0; t < self->trees; t++) {
        const size_t root = self->tree[t].root, end = t + 1 < self->trees ? self->tree[t + 1].root : nodes;
        if (root >= end || end > nodes)
            return "a tree has no nodes, or the trees are not in order";
        largest = end - root > largest ? end - root : largest;
    }
    uint32_t *level = malloc(largest * sizeof *level);
    const char *why = NULL;
    if (level == NULL)
        PyErr_NoMemory();
    for (uint32_t t = 0; level != NULL && why == NULL && t < self->trees; t++) {
        const size_t end = t + 1 < self->trees ? self->tree[t + 1].root : nodes;
        why = fault_of_tree(self, self->tree + t, end - self->tree[t].root, vectors, level);
    }
    free(level);
    return why;
}

static PyObject *forest_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"kind", "targets", "nodes", "trees", "columns", "vectors", NULL};
    int kind;
    unsigned int targets;
    Py_buffer nodes, trees, columns, vectors;
    if (!PyArg_ParseTupleAndKeywords(args, named, "iIy*y*y*y*", names, &kind, &targets, &nodes, &trees,
                                     &columns, &vectors))
        return NULL;
    Forest *self = NULL;
    const char *why = NULL;
    const size_t real = kind == DOUBLE ? sizeof(double) : sizeof(float);
    if (kind < NARROW || kind > DOUBLE)
        why = "kind is 0, 1 or 2";
    else if (targets < 1 || !trees.len || (size_t)trees.len % sizeof(Tree) ||
             (size_t)columns.len % sizeof(Column) || (size_t)nodes.len % NODE_BYTES[kind] || (size_t)vectors.len % real)
        why = "an array has a wrong length";
    if (why == NULL) {
        allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
        self = (Forest *)make(type, 0);
    }
    if (self != NULL) {
        self->kind = kind;
        self->targets = targets;
        self->columns = (uint32_t)((size_t)columns.len / sizeof(Column)) + 1;
        self->trees = (uint32_t)((size_t)trees.len / sizeof(Tree));
        self->nodes = copied(&nodes);
        self->tree = copied(&trees);
        self->column = copied(&columns);
        self->vectors = copied(&vectors);
        for (uint32_t n = 0; self->column && n + 1 < self->columns; n++)
            if (self->column[n].feature >= self->features)
                self->features = (size_t)self->column[n].feature + 1;
        if (!self->nodes || !self->tree || !self->column || !self->vectors)
            PyErr_NoMemory();
        else
            why = fault(self, (size_t)nodes.len / NODE_BYTES[kind], (size_t)vectors.len / real);
    }
    if (why != NULL)
        PyErr_SetString(PyExc_ValueError, why);
    PyBuffer_Release(&nodes);
    PyBuffer_Release(&trees);
    PyBuffer_Release(&columns);
    PyBuffer_Release(&vectors);
    if (PyErr_Occurred()) {
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static void forest_dealloc(PyObject *object)
{
    Forest *self = (Forest *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->nodes);
    free(self->tree);
    free(self->column);
    free(self->vectors);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *forest_run(PyObject *object, PyObject *args)
{
    const Forest *self = (const Forest *)object;
    Py_buffer rows, out;
    unsigned int features;
    if (!PyArg_ParseTuple(args, "y*Iw*", &rows, &features, &out))
        return NULL;
    const size_t row = features * (self->kind == DOUBLE ? sizeof(double) : sizeof(float));
    const size_t count = (size_t)out.len / (self->targets * sizeof(float));
    int failed = 0;
    if (features < self->features)
        PyErr_Format(PyExc_ValueError, "rows of %u features, %zu are needed", features, self->features);
    else if ((size_t)out.len != count * self->targets * sizeof(float) || (size_t)rows.len != count * row)
        PyErr_Format(PyExc_ValueError, "%zd bytes of rows and %zd of answers, for %u features and %u targets", rows.len,
                     out.len, features, self->targets);
    else if (count > 0) {
        Py_BEGIN_ALLOW_THREADS
        if (self->kind == NARROW)
            failed = narrow_run(self, rows.buf, features, count, out.buf);
        else if (self->kind == WIDE)
            failed = wide_run(self, rows.buf, features, count, out.buf);
        else
            failed = real_run(self, rows.buf, features, count, out.buf);
        Py_END_ALLOW_THREADS
        if (failed)
            PyErr_NoMemory();
    }
    PyBuffer_Release(&rows);
    PyBuffer_Release(&out);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"run", forest_run, METH_VARARGS, "run(rows, features, out): writes the sums of all trees, float32 [rows, targets], to out."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_new, forest_new},
    {Py_tp_dealloc, forest_dealloc},
    {Py_tp_methods, METHODS},
    {Py_tp_doc, "Forest(kind, targets, nodes, trees, columns, vectors): the arrays of a Walk in compiled.py."},
    {0, NULL},
};

static PyType_Spec SPEC = {
    .name = "onnxpress.packages.forest._kernel.Forest",
    .basicsize = sizeof(Forest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SLOTS,
};

static int fill_module(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&SPEC);
    int failed = type == NULL || PyModule_AddObjectRef(module, "Forest", type);
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot MODULE_SLOTS[] = {
    {Py_mod_exec, fill_module},
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "onnxpress.packages.forest._kernel",
    .m_doc = "The kernel of compiled forests, built from kernel.c if there is a C compiler.",
    .m_size = 0,
    .m_slots = MODULE_SLOTS,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&MODULE);
}
