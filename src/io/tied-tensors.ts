/**
 * Tied weights are stored once. If a tensor has several names, safetensors' `save_model` keeps one of them and maps
 * each omitted name to it in the file's metadata. (With shards, huggingface_hub puts these in the metadata of the
 * index.)
 * @param tensors by the names that were kept; returned unchanged if none is tied
 */
export function withTied<T>(tensors: ReadonlyMap<string, T>, metadata: ReadonlyMap<string, string>): ReadonlyMap<string, T> {
  const tied = tiedNames(tensors, metadata)
  if (tied.length === 0) return tensors
  return new Map([...tensors, ...tied.map(([leftOut, kept]) => [leftOut, tensors.get(kept)!] as const)])
}

/** The omitted names, each with the one that was kept. */
export function tiedNames(tensors: ReadonlyMap<string, unknown>, metadata: ReadonlyMap<string, string>): [leftOut: string, kept: string][] {
  return [...metadata].filter(([leftOut, kept]) => tensors.has(kept) && !tensors.has(leftOut))
}
