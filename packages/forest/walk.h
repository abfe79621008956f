/* The walks for one type of node. Included once for each type, with REAL, NODE, NAME(x), and BITS, an integer type of
   REAL's size. */

/* One step of `lanes` rows in one tree; `x` is [columns][lanes]. Returns 0 if all have arrived at a leaf. */
static INLINE uint32_t NAME(step_rows)(const NODE *restrict node, const REAL *restrict x, uint32_t *restrict at,
                                       const size_t lanes)
{
    uint32_t moved = 0;
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++) {
        const NODE here = node[at[lane]];
        const uint32_t next = here.left + (uint32_t)(x[here.column * lanes + lane] >= here.threshold);
        moved |= next ^ at[lane];
        at[lane] = next;
    }
    return moved;
}

/* One step of one row in LANES trees; `x` is [columns]. Returns 0 if all have arrived at a leaf. */
static INLINE uint32_t NAME(step_trees)(const NODE *const *root, const REAL *restrict x, uint32_t *restrict at)
{
    uint32_t moved = 0;
    UNROLL
    for (size_t lane = 0; lane < LANES; lane++) {
        const NODE here = root[lane][at[lane]];
        const uint32_t next = here.left + (uint32_t)(x[here.column] >= here.threshold);
        moved |= next ^ at[lane];
        at[lane] = next;
    }
    return moved;
}

/* Adds a leaf to the sums of one row; the sums of two targets are `stride` apart. */
static INLINE void NAME(add)(const Forest *self, const Tree *tree, const NODE *leaf, REAL *sums, size_t stride)
{
    if (tree->width == 1) {
        sums[tree->target * stride] += leaf->threshold;
        return;
    }
    BITS place;
    memcpy(&place, &leaf->threshold, sizeof place);
    const REAL *vector = (const REAL *)self->vectors + (size_t)place;
    for (uint32_t n = 0; n < tree->width; n++)
        sums[(tree->target + n) * stride] += vector[n];
}

/* Walks `lanes` rows, a constant of at most LANES, through one tree and adds the leaves; `sums` is [targets][lanes]. */
static INLINE void NAME(walk_rows)(const Forest *self, const Tree *tree, const REAL *restrict x, REAL *restrict sums,
                                   const size_t lanes)
{
    const NODE *node = (const NODE *)self->nodes + tree->root;
    uint32_t at[LANES] = {0}, depth = tree->depth;
    while (depth > DEEP) {
        for (int n = 1; n < STEPS; n++)
            NAME(step_rows)(node, x, at, lanes);
        depth = NAME(step_rows)(node, x, at, lanes) ? depth - STEPS : 0;
    }
    for (; depth; depth--)
        NAME(step_rows)(node, x, at, lanes);
    if (tree->width == 1) {
        REAL *mine = sums + (size_t)tree->target * lanes;
        UNROLL
        for (size_t lane = 0; lane < lanes; lane++)
            mine[lane] += node[at[lane]].threshold;
        return;
    }
    for (size_t lane = 0; lane < lanes; lane++)
        NAME(add)(self, tree, node + at[lane], sums + lane, lanes);
}

/* Walks one row through `count` trees, at most LANES, and adds the leaves; `sums` is [targets]. */
static INLINE void NAME(walk_trees)(const Forest *self, const Tree *tree, size_t count, const REAL *restrict x,
                                    REAL *restrict sums)
{
    const NODE *root[LANES];
    uint32_t at[LANES] = {0}, depth = 0;
    for (size_t lane = 0; lane < LANES; lane++) {
        const Tree *mine = tree + (lane < count ? lane : 0);
        root[lane] = (const NODE *)self->nodes + mine->root;
        depth = mine->depth > depth ? mine->depth : depth;
    }
    while (depth > DEEP) {
        for (int n = 1; n < STEPS; n++)
            NAME(step_trees)(root, x, at);
        depth = NAME(step_trees)(root, x, at) ? depth - STEPS : 0;
    }
    for (; depth; depth--)
        NAME(step_trees)(root, x, at);
    for (size_t lane = 0; lane < count; lane++)
        NAME(add)(self, tree + lane, root[lane] + at[lane], sums, 1);
}

/* Writes the columns of one row, `stride` apart. */
static INLINE void NAME(fill)(const Forest *self, const REAL *restrict row, REAL *restrict x, size_t stride)
{
    for (uint32_t n = 0; n + 1 < self->columns; n++) {
        const REAL value = row[self->column[n].feature];
        const uint32_t kind = self->column[n].kind;
        const REAL missing = kind == MISSING_RIGHT || kind == ONLY_MISSING_RIGHT ? (REAL)INFINITY : (REAL)-INFINITY;
        const REAL present = kind == MISSING_LEFT || kind == MISSING_RIGHT ? value : -missing;
        x[n * stride] = value == value ? present : missing;
    }
    x[(self->columns - 1) * stride] = (REAL)NAN;
}

/* Walks `count` rows through a block of trees: tiles of LANES rows, then one of HALF, then the rest one row at a time. */
static void NAME(block)(const Forest *self, uint32_t first, uint32_t end, const REAL *x, REAL *sums, size_t count)
{
    const size_t columns = self->columns, targets = self->targets;
    size_t n = 0;
    for (; count - n >= LANES; n += LANES)
        for (uint32_t t = first; t < end; t++)
            NAME(walk_rows)(self, self->tree + t, x + n * columns, sums + n * targets, LANES);
    for (; count - n >= HALF; n += HALF)
        for (uint32_t t = first; t < end; t++)
            NAME(walk_rows)(self, self->tree + t, x + n * columns, sums + n * targets, HALF);
    for (; n < count; n++)
        for (uint32_t t = first; t < end; t += LANES)
            NAME(walk_trees)(self, self->tree + t, end - t < LANES ? end - t : LANES, x + n * columns, sums + n * targets);
}

/* Answers `count` rows; `x` has room for count * columns, `sums` for count * targets. */
static void NAME(chunk)(const Forest *self, const REAL *rows, size_t features, size_t count, float *out, REAL *x,
                        REAL *sums)
{
    const size_t columns = self->columns, targets = self->targets;
    memset(sums, 0, sizeof(REAL) * count * targets);
    for (size_t n = 0, lanes; n < count; n += lanes) {
        lanes = lanes_of(count - n);
        for (size_t lane = 0; lane < lanes; lane++)
            NAME(fill)(self, rows + (n + lane) * features, x + n * columns + lane, lanes);
    }
    for (uint32_t first = 0, end; first < self->trees; first = end) {
        for (end = first + 1; end < self->trees; end++)
            if ((self->tree[end].root - self->tree[first].root) * sizeof(NODE) > BLOCK_BYTES)
                break;
        NAME(block)(self, first, end, x, sums, count);
    }
    for (size_t n = 0, lanes; n < count; n += lanes) {
        lanes = lanes_of(count - n);
        for (size_t lane = 0; lane < lanes; lane++)
            for (size_t target = 0; target < targets; target++)
                out[(n + lane) * targets + target] = (float)sums[n * targets + target * lanes + lane];
    }
}

/* Returns -1 if there is no memory. */
static int NAME(run)(const Forest *self, const REAL *rows, size_t features, size_t count, float *out)
{
    const size_t row = ((size_t)self->columns + self->targets) * sizeof(REAL);
    const size_t fitting = CHUNK_BYTES / row / LANES * LANES;
    const size_t most = fitting < LANES ? LANES : fitting < CHUNK_ROWS ? fitting : CHUNK_ROWS;
    const size_t chunk = count < most ? count : most;
    REAL *x = malloc(row * chunk);
    if (x == NULL)
        return -1;
    for (size_t n = 0; n < count; n += chunk) {
        const size_t some = count - n < chunk ? count - n : chunk;
        NAME(chunk)(self, rows + n * features, features, some, out + n * self->targets, x, x + some * self->columns);
    }
    free(x);
    return 0;
}

#undef REAL
#undef NODE
#undef BITS
#undef NAME
