/** Leading bytes of files commonly mistaken for another kind, with what they are and what to do. */
const FORMATS: readonly [start: RegExp, what: string][] = [
  [
    /^version (https:\/\/git-lfs|$)/,
    'a Git LFS pointer, left in place of the file by a clone without Git LFS: run `git lfs pull` there, or download the file itself',
  ],
  [
    /^PK\x03\x04/,
    'a zip archive, as torch.save writes (.pt, .pth, .bin): load it in Python and save its state dict with safetensors.torch.save_file',
  ],
  [
    /^\x80[\x02-\x05]/,
    'a Python pickle, as torch.save wrote before PyTorch 1.6: load it in Python and save its state dict with safetensors.torch.save_file',
  ],
  [/^GGUF/, 'a GGUF file, whose models are of other kinds'],
  [/^\x89HDF/, 'an HDF5 file: save its tensors with safetensors.torch.save_file'],
  [/^\x1f\x8b/, 'compressed with gzip: decompress it'],
  [/^(\xef\xbb\xbf)?\s*<(!doc|html|head|body|\?xml)/i, 'a web page or an XML error response: download the file itself'],
]

/**
 * Recognises a file that is not in the expected format, and suggests what to do.
 * @param bytes its first bytes, at least 8
 * @returns undefined if it is not recognised
 */
export function foreignFormat(bytes: Uint8Array): string | undefined {
  const start = String.fromCharCode(...bytes.subarray(0, 32))
  return FORMATS.find(([pattern]) => pattern.test(start))?.[1]
}
