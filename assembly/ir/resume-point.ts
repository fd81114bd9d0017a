/** Words that record the progress of a program that runs slice by slice. */
export enum ResumePoint {
  /** Address of the op that comes next. */
  Op,
  /** Which of its slices comes next, of how many; 0 of 0 before its first. */
  Slice,
  Slices,
  Length,
}
