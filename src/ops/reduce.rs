//! stub
pub(super) fn cases() -> Vec<super::Case> { vec![] }
impl<'g> crate::graph::Var<'g> {
    #[track_caller]
    pub(crate) fn sum_to(self, shape: crate::shape::Shape) -> crate::graph::Var<'g> { let _ = shape; self }
}
