/** What files begin with that people take for another kind, what they are, and what to do. */
const FORMATS: readonly [start: RegExp, what: string][] = [
  [
    /^version (https:\/\/git-lfs|$)/,
    'a Git LFS pointer, which stands for the file in a clone without Git LFS: run `git lfs pull` there, or download the file itself',
  ],
  [
    /^PK\x03\x04/,
    'a zip archive, as torch.save writes (.pt, .pth, .bin): load it in Python, and write its state dict with safetensors.torch.save_file',
  ],
  [
    /^\x80[\x02-\x05]/,
    'a Python pickle, as torch.save wrote before PyTorch 1.6: load it in Python, and write its state dict with safetensors.torch.save_file',
  ],
  [/^GGUF/, 'a GGUF file, which holds models of other kinds'],
  [/^\x89HDF/, 'an HDF5 file: write its tensors with safetensors.torch.save_file'],
  [/^\x1f\x8b/, 'compressed with gzip: decompress it'],
  [/^(\xef\xbb\xbf)?\s*<(!doc|html|head|body|\?xml)/i, 'a web page, or the XML of an error: download the file itself'],
]

/**
 * What a file is that breaks the format it should have, with what to do about it.
 * @param bytes its first, at least 8
 * @returns undefined where that is not known
 */
export function foreignFormat(bytes: Uint8Array): string | undefined {
  const start = String.fromCharCode(...bytes.subarray(0, 32))
  return FORMATS.find(([pattern]) => pattern.test(start))?.[1]
}
