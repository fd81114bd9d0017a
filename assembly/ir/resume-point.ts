/** Words that tell how far a program has come that is run part by part. */
export enum ResumePoint {
  /** Address of the op that comes next. */
  Op,
  /** Which of its parts comes next, of how many; 0 of 0 before its first. */
  Part,
  Parts,
  Length,
}
