import { allocateBytes } from './sources/source.js'
import { tiedNames } from './tied-tensors.js'
import { byteSize, type SafetensorsHeader, type StoredTensor, type TensorInfo, type TensorLocation } from './safetensors.js'

/** Takes a model's tensors as they arrive. */
export interface TensorSink {
  /**
   * Takes the next bytes of a tensor. Those of one tensor come in order, and from its first again if its file is read
   * again; a tensor without values never comes. What this throws ends the reading.
   * @param from bytes of the tensor before these
   * @param bytes valid during the call; must not be modified
   */
  write(name: string, from: number, bytes: Uint8Array): void
}

/** Divides the bytes after a header between the tensors. */
export class TensorSplitter {
  private readonly tensors: Iterator<[string, TensorLocation]>
  private current: [string, TensorLocation] | undefined
  private position = 0

  constructor(
    header: SafetensorsHeader,
    private readonly sink: TensorSink,
  ) {
    this.tensors = header.tensors.entries()
    this.advance()
  }

  /** Takes the next bytes of the body. */
  write(piece: Uint8Array): void {
    // no Buffer of Node, whose `slice` does not copy
    const bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.length)
    for (let at = 0; at < bytes.length;) {
      while (this.current![1].end === this.position) this.advance()
      const [name, { begin, end }] = this.current!
      const part = bytes.subarray(at, at + end - this.position)
      this.sink.write(name, this.position - begin, part)
      this.position += part.length
      at += part.length
    }
  }

  private advance(): void {
    this.current = this.tensors.next().value as [string, TensorLocation] | undefined
  }
}

/**
 * Writes tensors that are stored once to all names they go by.
 * @param stored by the names they are stored under
 * @param metadata see `withTied`
 */
export function underAllNames(sink: TensorSink, stored: ReadonlyMap<string, unknown>, metadata: ReadonlyMap<string, string>): TensorSink {
  const others = new Map<string, string[]>()
  for (const [leftOut, kept] of tiedNames(stored, metadata)) others.set(kept, [...(others.get(kept) ?? []), leftOut])
  if (others.size === 0) return sink
  return {
    write: (name, from, bytes) => {
      sink.write(name, from, bytes)
      for (const other of others.get(name) ?? []) sink.write(other, from, bytes)
    },
  }
}

/** Collects whole tensors. */
export class TensorCollector implements TensorSink {
  private readonly collected = new Map<string, Uint8Array>()

  constructor(private readonly infos: ReadonlyMap<string, TensorInfo>) {}

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  write(name: string, from: number, bytes: Uint8Array): void {
    let tensor = this.collected.get(name)
    if (tensor === undefined) {
      tensor = allocateBytes(byteSize(this.infos.get(name)!)!, `tensor ${name}`)
      this.collected.set(name, tensor)
    }
    tensor.set(bytes, from)
  }

  /** Gives up what was collected. */
  release(): void {
    this.collected.clear()
  }

  get tensors(): ReadonlyMap<string, StoredTensor> {
    const { infos, collected } = this
    return new Map([...infos].map(([name, { dtype, shape }]) => [name, { dtype, shape, bytes: collected.get(name) ?? new Uint8Array(0) }]))
  }
}
