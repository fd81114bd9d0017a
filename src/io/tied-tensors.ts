/**
 * Tied weights are stored once. Of a tensor with several names, safetensors' `save_model` keeps one and notes each
 * other in the file's metadata: the name that was left out, and the name that was kept. (huggingface_hub notes them in
 * the metadata of the index where there are shards.)
 * @param tensors by the names that were kept; returned as they are where none is tied
 */
export function withTied<T>(tensors: ReadonlyMap<string, T>, metadata: ReadonlyMap<string, string>): ReadonlyMap<string, T> {
  const tied = [...metadata].filter(([leftOut, kept]) => tensors.has(kept) && !tensors.has(leftOut))
  if (tied.length === 0) return tensors
  return new Map([...tensors, ...tied.map(([leftOut, kept]) => [leftOut, tensors.get(kept)!] as const)])
}
