/** A node of a trie: reached by the ids of all labels from the root to it. */
export interface TrieNode<Value> {
  readonly value: Value | undefined
}

class LabelledNode<Value> implements TrieNode<Value> {
  value: Value | undefined
  readonly children = new Map<number, LabelledNode<Value>>()

  /** @param label ids from the parent to this node; empty for the root alone */
  constructor(
    public label: Int32Array,
    public parent: LabelledNode<Value> | undefined,
  ) {}
}

/** What a trie knows of some token ids. */
export interface Match<Value> {
  /** The node of the longest prefix that has a value, if there is one. */
  readonly node: TrieNode<Value> | undefined
  /** The length of that prefix, or 0. */
  readonly length: number
  /** How many of the ids any key begins with: at least `length`. */
  readonly common: number
}

/** A map from sequences of token ids that finds the longest key that is a prefix of others, in time linear in their length. */
export class TokenTrie<Value> {
  readonly #root = new LabelledNode<Value>(new Int32Array(0), undefined)
  #idCount = 0

  /** Number of ids held, each prefix that keys share once. */
  get idCount(): number {
    return this.#idCount
  }

  find(ids: Int32Array): Match<Value> {
    let best: { node: LabelledNode<Value> | undefined; length: number } = { node: undefined, length: 0 }
    let node = this.#root
    let at = 0
    for (;;) {
      if (node.value !== undefined) best = { node, length: at }
      const child = at < ids.length ? node.children.get(ids[at]!) : undefined
      if (!child) return { ...best, common: at }
      const common = commonLength(child.label, ids.subarray(at))
      at += common
      if (common < child.label.length) return { ...best, common: at }
      node = child
    }
  }

  /** Gives the key a value, in place of its previous one. @returns its node, which remains the same until it is deleted */
  set(ids: Int32Array, value: Value): TrieNode<Value> {
    let node = this.#root
    let at = 0
    while (at < ids.length) {
      const child = node.children.get(ids[at]!)
      if (!child) {
        const leaf = new LabelledNode(ids.slice(at), node)
        node.children.set(ids[at]!, leaf)
        this.#idCount += leaf.label.length
        node = leaf
        break
      }
      const common = commonLength(child.label, ids.subarray(at))
      at += common
      node = common < child.label.length ? split(child, common) : child
    }
    node.value = value
    return node
  }

  /** Removes a node's value, and the ids that led to no other. */
  delete(removed: TrieNode<Value>): void {
    const node = removed as LabelledNode<Value>
    node.value = undefined
    const { parent } = node
    if (!parent) return
    if (node.children.size > 0) return joinOnlyChild(node)
    parent.children.delete(node.label[0]!)
    this.#idCount -= node.label.length
    joinOnlyChild(parent)
  }
}

/** Puts a node before `lower`, after the first ids of its label. */
function split<Value>(lower: LabelledNode<Value>, length: number): LabelledNode<Value> {
  const { label, parent } = lower
  const upper = new LabelledNode(label.slice(0, length), parent)
  parent!.children.set(label[0]!, upper)
  lower.label = label.slice(length) // a copy: a view would keep all of the ids
  lower.parent = upper
  upper.children.set(lower.label[0]!, lower)
  return upper
}

/** Takes a node out that has no value and a single child. */
function joinOnlyChild<Value>(node: LabelledNode<Value>): void {
  const { parent, children, value } = node
  if (!parent || value !== undefined || children.size !== 1) return
  const [child] = children.values()
  const label = new Int32Array(node.label.length + child!.label.length)
  label.set(node.label)
  label.set(child!.label, node.label.length)
  child!.label = label
  child!.parent = parent
  parent.children.set(label[0]!, child!)
}

/** How many ids two sequences begin with in common. */
export function commonLength(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length)
  let length = 0
  while (length < most && a[length] === b[length]) length++
  return length
}
