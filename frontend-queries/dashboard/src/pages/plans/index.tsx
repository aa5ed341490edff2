/** Plans: all of them, one to be reviewed and applied, or a new one before it is made. */
import { useParams } from "wouter";

import { PlanList } from "./list.js";
import { NewPlan } from "./new.js";
import { PlanView } from "./plan.js";
import "../../components/review.css";
import "./plans.css";

export default function PlansPage() {
  const { planId } = useParams<{ planId?: string }>();
  if (planId === undefined) return <PlanList />;
  return planId === "new" ? <NewPlan /> : <PlanView key={planId} id={planId} />;
}
