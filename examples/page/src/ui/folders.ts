interface Folder {
  readonly files: readonly File[]
  readonly name: string
}

const UNNAMED = 'your files'

/** What was dropped: a folder's own files, or files by themselves. Must be called in the event: its items go after it. */
export async function filesIn(transfer: DataTransfer | null): Promise<Folder> {
  const items = [...(transfer?.items ?? [])].filter(({ kind }) => kind === 'file')
  const dropped = items.map((item) => folderOf(item) ?? item.getAsFile()).filter((one) => one !== null)
  const files = await Promise.all(dropped.map(async (one) => (one instanceof File ? [one] : filesOf(one))))
  const [first] = dropped
  return { files: files.flat(), name: dropped.length === 1 && first && !(first instanceof File) ? first.name : UNNAMED }
}

function folderOf(item: DataTransferItem): FileSystemDirectoryEntry | null {
  const entry = item.webkitGetAsEntry()
  return entry?.isDirectory ? (entry as FileSystemDirectoryEntry) : null
}

/** Of the files that a chosen folder and its subfolders hold, its own. */
export function ofOneFolder(files: readonly File[]): Folder {
  const own = files.filter(({ webkitRelativePath }) => webkitRelativePath.split('/').length <= 2)
  return { files: own, name: own[0]?.webkitRelativePath.split('/')[0] || UNNAMED }
}

/** The files of a dropped folder, without those of its subfolders. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader()
  const files: File[] = []
  // a call returns some of the entries, and none when there are no more
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (entries.length === 0) return files
    files.push(...(await Promise.all(entries.filter(({ isFile }) => isFile).map((file) => fileOf(file as FileSystemFileEntry)))))
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject))
}
