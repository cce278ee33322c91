// The same operations as loops over 64 bytes, which compilers turn into SSE2 or NEON code. Any C++17 compiler does.

constexpr int kRowBytes = 64;

struct Row {
    alignas(16) unsigned char bytes[kRowBytes];
};

template <class Key>
struct RowKeys {
    static constexpr int kCount = kRowBytes / static_cast<int>(sizeof(Key));
    Key at[kCount];
    explicit RowKeys(const Row& row) { std::memcpy(at, row.bytes, sizeof at); }
    Row row() const {
        Row out;
        std::memcpy(out.bytes, at, sizeof at);
        return out;
    }
};

static inline Row load_row(const unsigned char* from) {
    Row row;
    std::memcpy(row.bytes, from, sizeof row.bytes);
    return row;
}

static inline void store_row(void* to, const Row& row) { std::memcpy(to, row.bytes, sizeof row.bytes); }

template <class Key>
static inline Row splat_row(Key key) {
    RowKeys<Key> keys{Row{}};
    for (Key& at : keys.at) at = key;
    return keys.row();
}

template <class Key>
static inline Row larger(const Row& a, const Row& b, Key) {
    RowKeys<Key> left{a};
    const RowKeys<Key> right{b};
    for (int i = 0; i < RowKeys<Key>::kCount; ++i) left.at[i] = left.at[i] > right.at[i] ? left.at[i] : right.at[i];
    return left.row();
}

template <class Key>
static inline std::uint64_t match_row(const Row& a, const Row& b, Key) {
    const RowKeys<Key> left{a}, right{b};
    std::uint64_t bits = 0;
    for (int i = 0; i < RowKeys<Key>::kCount; ++i) bits |= std::uint64_t{left.at[i] == right.at[i]} << i;
    return bits;
}

template <class Key>
static inline Row newer(const Row& old, const Row& number, const Row& row, const Row& top, Key) {
    RowKeys<Key> out{old};
    const RowKeys<Key> numbers{number}, keys{row}, tops{top};
    for (int i = 0; i < RowKeys<Key>::kCount; ++i) out.at[i] = keys.at[i] > tops.at[i] ? numbers.at[i] : out.at[i];
    return out.row();
}

template <class Key>
static inline Key highest_lane(const Row& row, Key) {
    const RowKeys<Key> keys{row};
    Key top = keys.at[0];
    for (int i = 1; i < RowKeys<Key>::kCount; ++i) top = keys.at[i] > top ? keys.at[i] : top;
    return top;
}
